"""What `unstructured` found in a document -> blocks of canonical text."""

from collections.abc import Iterable

from lxml import html  # type: ignore[import-untyped]  # it ships no types

from core.domain import ElementKind
from ingestion.parsing.canonical import TextBuilder, clean
from ingestion.parsing.markup import rows_of, spread_spans
from ingestion.parsing.tables import linearise
from ingestion.parsing.unstructured_seam import Found

_KINDS = {
    "Title": ElementKind.HEADING,
    "ListItem": ElementKind.LIST_ITEM,
    "Table": ElementKind.TABLE,
    "CodeSnippet": ElementKind.CODE,
    "FigureCaption": ElementKind.CAPTION,
    "Image": ElementKind.CAPTION,
    "Header": ElementKind.HEADER_FOOTER,
    "Footer": ElementKind.HEADER_FOOTER,
    "PageNumber": ElementKind.HEADER_FOOTER,
}
_LONGEST_HEADING = 300


def add_found(builder: TextBuilder, elements: Iterable[Found]) -> None:
    """Add the elements in order; headings keep their level, tables their rows."""
    for element in elements:
        kind = _KINDS.get(element.category, ElementKind.PARAGRAPH)
        depth = element.metadata.category_depth or 0
        text = element.text or ""
        if kind is ElementKind.TABLE:
            table = _table(element.metadata.text_as_html or "")
            if table is None:
                builder.add(kind, text)
            else:
                spread_spans(table)
                builder.add_table(linearise(rows_of(table)))
        elif kind is ElementKind.HEADING and len(text) <= _LONGEST_HEADING:
            if builder.title is None:
                builder.title = clean(text) or None
            builder.add(kind, text, level=depth + 1)
        elif kind is ElementKind.LIST_ITEM:
            builder.add(kind, text, level=depth + 1)
        else:
            builder.add(ElementKind.PARAGRAPH if kind is ElementKind.HEADING else kind, text)


def _table(markup: str) -> html.HtmlElement | None:
    return html.fragment_fromstring(markup, create_parent="div").find(".//table") if markup.strip() else None
