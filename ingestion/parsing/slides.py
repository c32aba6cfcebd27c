"""PowerPoint presentations: slide by slide, each a page, its title a heading; tables, charts and notes included."""

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pptx
from lxml import etree  # type: ignore[import-untyped]  # it ships no types
from pptx.exc import PackageNotFoundError, PythonPptxError

from core.domain import ElementKind, ParsedDocument, Reason
from ingestion.parsing.canonical import TextBuilder, clean_line
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.ooxml import ordinary
from ingestion.parsing.tables import linearise
from ingestion.parsing.titles import sensible_title

_POINTS = 12_700  # English metric units in one.
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_COMMENT_TEXT = ("text", "t")


def parse_pptx(data: bytes) -> ParsedDocument:
    """Return the text of a presentation; raise `ParseFailed`: `corrupt` or `no_text`."""
    builder = TextBuilder()
    lost: list[int] = []
    try:
        presentation = pptx.Presentation(io.BytesIO(ordinary(data)))
        title = presentation.core_properties.title
        size = ((presentation.slide_width or 0) / _POINTS, (presentation.slide_height or 0) / _POINTS)
        slides = list(presentation.slides)
    except (KeyError, ValueError, AttributeError, zipfile.BadZipFile, etree.LxmlError, PythonPptxError) as error:
        raise ParseFailed(Reason.CORRUPT, f"the presentation is damaged: {type(error).__name__}: {error}") from error
    except PackageNotFoundError as error:
        raise ParseFailed(Reason.CORRUPT, "the presentation is damaged") from error
    for number, slide in enumerate(slides, 1):
        builder.start_page(number, width=size[0], height=size[1])
        builder.reset_headings()
        try:
            _add_slide(builder, slide)
        except (KeyError, ValueError, AttributeError, IndexError, etree.LxmlError, PythonPptxError):
            lost.append(number)
    if lost and len(lost) == len(slides):
        raise ParseFailed(Reason.CORRUPT, "no slide could be read", page=1)
    if builder.empty:
        raise ParseFailed(Reason.NO_TEXT, f"none of the {len(slides)} slides holds text")
    return builder.build(
        title=sensible_title(title) or builder.title, language=detect_language(builder.sample), pages_lost=lost
    )


def _add_slide(builder: TextBuilder, slide: Any) -> None:  # noqa: ANN401 - python-pptx ships no types
    title = slide.shapes.title
    if title is not None and title.has_text_frame and title.text_frame.text.strip():
        text = clean_line(title.text_frame.text)
        builder.title = builder.title or text
        builder.add(ElementKind.HEADING, text, level=1)
    for shape in _in_reading_order(slide.shapes):
        if title is None or shape.shape_id != title.shape_id:
            _add_shape(builder, shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        builder.add(ElementKind.PARAGRAPH, slide.notes_slide.notes_text_frame.text)
    _add_comments(builder, slide)


def _in_reading_order(shapes: Iterable[Any]) -> list[Any]:
    """Return the shapes from top to bottom, then left to right; placeholders without a place keep the front."""
    return sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0))


def _add_shape(builder: TextBuilder, shape: Any) -> None:  # noqa: ANN401
    if hasattr(shape, "shapes"):
        for member in _in_reading_order(shape.shapes):
            _add_shape(builder, member)
    elif getattr(shape, "has_table", False):
        builder.add_table(linearise(_table_rows(shape.table)))
    elif getattr(shape, "has_chart", False):
        _add_chart(builder, shape.chart)
    elif shape.has_text_frame:
        _add_paragraphs(builder, shape)
    elif shape._element.tag.endswith("}graphicFrame"):  # noqa: SLF001 - SmartArt has no public face
        _add_diagram(builder, shape)


def _table_rows(table: Any) -> Iterator[Sequence[str]]:  # noqa: ANN401
    """Yield the rows; a cell merged downwards is repeated in each, so that every row says what it belongs to."""
    above: dict[int, tuple[int, str]] = {}  # column -> rows still covered, and the text
    for row in table.rows:
        texts = []
        for column, cell in enumerate(row.cells):
            left, text = above.pop(column, (0, ""))
            if not cell.is_spanned:
                left, text = (cell.span_height if cell.is_merge_origin else 1), cell.text
            if left > 1:
                above[column] = (left - 1, text)
            texts.append(text if left else "")
        yield texts


def _add_paragraphs(builder: TextBuilder, shape: Any) -> None:  # noqa: ANN401
    bulleted = shape.is_placeholder and "BODY" in str(shape.placeholder_format.type or "BODY")
    for paragraph in shape.text_frame.paragraphs:
        text = _text(paragraph)
        if bulleted or paragraph.level or _has_bullet(paragraph):
            builder.add(ElementKind.LIST_ITEM, text, level=paragraph.level + 1)
        else:
            builder.add(ElementKind.PARAGRAPH, text)


def _text(paragraph: Any) -> str:  # noqa: ANN401
    """Return all text of a paragraph, fields such as slide numbers and formulas included."""
    parts = []
    for node in paragraph._p.iter():  # noqa: SLF001 - `paragraph.text` leaves formulas out
        if isinstance(node.tag, str) and node.tag.endswith("}t"):
            parts.append(node.text or "")
        elif node.tag == f"{_DRAWING}br":
            parts.append("\n")
    return "".join(parts)


def _has_bullet(paragraph: Any) -> bool:  # noqa: ANN401
    properties = paragraph._p.pPr  # noqa: SLF001 - python-pptx has no public way to ask
    return properties is not None and any(
        properties.find(f"{_DRAWING}{kind}") is not None for kind in ("buChar", "buAutoNum", "buBlip")
    )


def _add_chart(builder: TextBuilder, chart: Any) -> None:  # noqa: ANN401
    """Add a chart as the table of its numbers: a row per category, a column per series."""
    if chart.has_title and chart.chart_title.has_text_frame:
        builder.add(ElementKind.CAPTION, chart.chart_title.text_frame.text)
    for plot in chart.plots:
        builder.add_table(linearise(_chart_rows(plot)))


def _chart_rows(plot: Any) -> Iterator[Sequence[str]]:  # noqa: ANN401
    series = list(plot.series)
    categories = [str(category) for category in plot.categories]
    yield ["", *(str(one.name or "") for one in series)]
    columns = [["" if value is None else f"{value:g}" for value in one.values] for one in series]
    for index in range(max([len(categories), *(len(column) for column in columns)])):
        label = categories[index] if index < len(categories) else ""
        yield [label, *(column[index] if index < len(column) else "" for column in columns)]


def _add_diagram(builder: TextBuilder, shape: Any) -> None:  # noqa: ANN401
    """Add the words of a SmartArt diagram, which live in a part of their own."""
    ids = shape._element.xpath(".//*[local-name()='relIds']/@*[local-name()='dm']")  # noqa: SLF001
    for relation in ids:
        root = etree.fromstring(shape.part.related_part(relation).blob, _parser())
        for point in root.iter("{http://schemas.openxmlformats.org/drawingml/2006/diagram}t"):
            builder.add(ElementKind.LIST_ITEM, "".join(node.text or "" for node in point.iter(f"{_DRAWING}t")), level=1)


def _add_comments(builder: TextBuilder, slide: Any) -> None:  # noqa: ANN401
    for relation in slide.part.rels.values():
        if not relation.is_external and relation.reltype.endswith("/comments"):
            root = etree.fromstring(relation.target_part.blob, _parser())
            for node in root.iter():
                if isinstance(node.tag, str) and etree.QName(node).localname in _COMMENT_TEXT and node.text:
                    builder.add(ElementKind.PARAGRAPH, node.text)


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True)
