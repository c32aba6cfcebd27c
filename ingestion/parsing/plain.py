"""Plain text: paragraphs as the author parted them."""

import re

from core.domain import ElementKind, ParsedDocument, Reason
from ingestion.parsing.canonical import TextBuilder, clean
from ingestion.parsing.encodings import decode
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language

_PARAGRAPH_END = re.compile(r"\n{2,}")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+\S")


def parse_plain(data: bytes) -> ParsedDocument:
    """Return the text, paragraphs parted at empty lines; raise `ParseFailed`: `corrupt`, `empty`."""
    text = decode(data)
    if text is None:
        raise ParseFailed(Reason.CORRUPT, "the text is in no known encoding")
    builder = TextBuilder()
    add_plain(builder, text)
    if builder.empty:
        raise ParseFailed(Reason.EMPTY, "the file holds no characters that can be read")
    return builder.build(title=None, language=detect_language(builder.sample))


def add_plain(builder: TextBuilder, text: str) -> None:
    """Add text paragraph by paragraph."""
    for paragraph in _PARAGRAPH_END.split(clean(text)):
        lines = paragraph.split("\n")
        if len(lines) > 1 and all(_LIST_ITEM.match(line) for line in lines):
            for line in lines:
                builder.add(ElementKind.LIST_ITEM, line, level=1)
        else:
            builder.add(ElementKind.PARAGRAPH, paragraph)
