"""HTML and Markdown, by `unstructured`."""

import re

from lxml import etree, html  # type: ignore[import-untyped]  # it ships no types
from markdown import markdown  # type: ignore[import-untyped]  # it ships no types

from core.domain import ParsedDocument, Reason
from ingestion.parsing.canonical import TextBuilder
from ingestion.parsing.encodings import decode
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.markup import normalised
from ingestion.parsing.partitioned import add_found
from ingestion.parsing.titles import sensible_title
from ingestion.parsing.unstructured_seam import partition_html

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_FRONT_TITLE = re.compile(r"""^title:[ \t]*["']?(.+?)["']?[ \t]*$""", re.MULTILINE | re.IGNORECASE)


def parse_html(data: bytes) -> ParsedDocument:
    """Return the text of a page, scripts and styles left out; raise `ParseFailed`: `corrupt` or `no_text`."""
    text = _decoded(data)
    builder = TextBuilder()
    add_html(builder, text)
    if builder.empty:
        raise ParseFailed(Reason.NO_TEXT, "the page holds no text")
    return builder.build(title=_html_title(text) or builder.title, language=detect_language(builder.sample))


def add_html(builder: TextBuilder, text: str) -> None:
    """Add the content of a page; raise `ParseFailed` (`corrupt`) when even a lenient parser finds no page."""
    if not text.strip():
        return
    try:
        add_found(builder, partition_html(text=normalised(text), languages=[""]))
    except etree.ParserError:
        return  # lxml's word for a page without any element.
    except (etree.LxmlError, ValueError, AssertionError) as error:
        raise ParseFailed(Reason.CORRUPT, f"the page is damaged: {type(error).__name__}: {error}") from error


def parse_markdown(data: bytes) -> ParsedDocument:
    """Return the text of a Markdown file, its front matter read for the title alone; may raise `no_text`."""
    text = _decoded(data).lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    title = None
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        found = _FRONT_TITLE.search(front[1])
        title = sensible_title(found[1]) if found else None
    builder = TextBuilder()
    add_html(builder, markdown(text, extensions=["tables", "fenced_code", "sane_lists"]))
    if builder.empty:
        raise ParseFailed(Reason.NO_TEXT, "the file holds no text")
    return builder.build(title=title or builder.title, language=detect_language(builder.sample))


def _decoded(data: bytes) -> str:
    text = decode(data)
    if text is None:
        raise ParseFailed(Reason.CORRUPT, "the text is in no known encoding")
    return text


def _html_title(text: str) -> str | None:
    found = _TITLE.search(text[: 1 << 20])
    if found is None:
        return None
    return sensible_title(html.fromstring(f"<p>{found[1]}</p>").text_content())
