"""Comma- and otherwise separated values."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence

from core.domain import ParsedDocument, Reason
from ingestion.parsing.canonical import TextBuilder
from ingestion.parsing.encodings import decode
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.tables import linearise

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_MOST_FIELD_CHARS = 10_000_000
_SLICE_CHARS = 1 << 20  # StringIO takes four bytes a character: it never gets the whole file.


def parse_csv(data: bytes) -> ParsedDocument:
    """Return the rows as one table; raise `ParseFailed`: `corrupt`, `empty`."""
    text = decode(data)
    if text is None:
        raise ParseFailed(Reason.CORRUPT, "the table is in no known encoding")
    builder = TextBuilder()
    csv.field_size_limit(_MOST_FIELD_CHARS)
    try:
        builder.add_table(linearise(_rows(text)))
    except csv.Error as error:
        raise ParseFailed(Reason.CORRUPT, f"the table is damaged: {error}") from error
    del text  # Of a large file, this and the canonical text need not both be in memory.
    if builder.empty:
        raise ParseFailed(Reason.EMPTY, "the table has no filled cell")
    return builder.build(title=None, language=detect_language(builder.sample))


def _rows(text: str) -> Iterator[Sequence[str]]:
    return csv.reader(_lines(text), delimiter=delimiter_of(text))


def _lines(text: str) -> Iterator[str]:
    """Yield the lines with their ends, whichever these are."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _SLICE_CHARS) + 1 or len(text)
        yield from io.StringIO(text[start:end].replace("\x00", ""), newline="")
        start = end


def delimiter_of(text: str) -> str:
    """Return the character that parts the fields: the one by which most sample lines get the same, largest width."""
    lines = [line for line in text[: 1 << 16].splitlines()[:_SAMPLE_LINES] if line.strip()]
    best, best_score = ",", (0.0, 0)
    for delimiter in _DELIMITERS:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        width, agreeing = max(widths.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        score = (agreeing / len(lines), width)
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    return best
