"""Spreadsheets: sheet by sheet, each a page headed by its name; blank rows part tables."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import Any

import openpyxl  # type: ignore[import-untyped]  # it ships no types
from lxml import etree  # type: ignore[import-untyped]  # it ships no types
from openpyxl.utils.exceptions import InvalidFileException  # type: ignore[import-untyped]  # it ships no types

from core.domain import ElementKind, ParsedDocument, Reason
from ingestion.parsing.canonical import TextBuilder
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.language import detect_language
from ingestion.parsing.ooxml import ordinary, related
from ingestion.parsing.tables import linearise
from ingestion.parsing.titles import sensible_title

_MOST_COLUMNS = 2_000  # Beyond that a sheet is not a table that anyone wrote.


def parse_xlsx(data: bytes) -> ParsedDocument:
    """Return the text of a workbook as last calculated; raise `ParseFailed`: `corrupt`, `empty`."""
    try:
        data = ordinary(data)
        workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, zipfile.BadZipFile, SyntaxError) as error:
        raise ParseFailed(Reason.CORRUPT, f"the workbook is damaged: {type(error).__name__}: {error}") from error
    except (InvalidFileException, etree.LxmlError, OSError) as error:
        raise ParseFailed(Reason.CORRUPT, f"the workbook is damaged: {type(error).__name__}") from error
    builder = TextBuilder()
    lost: list[int] = []
    filled = False
    for number, sheet in enumerate(workbook.worksheets, 1):
        builder.start_page(number, label=sheet.title)
        builder.reset_headings()
        try:
            filled |= _add_sheet(builder, sheet)
            _add_comments(builder, data, sheet)
        except (KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, SyntaxError, etree.LxmlError):
            lost.append(number)
    if lost and len(lost) == len(workbook.worksheets):
        raise ParseFailed(Reason.CORRUPT, "no sheet could be read", page=1)
    if not filled:
        raise ParseFailed(Reason.EMPTY, "the workbook has no filled cell")
    return builder.build(
        title=sensible_title(workbook.properties.title), language=detect_language(builder.sample), pages_lost=lost
    )


def _add_sheet(builder: TextBuilder, sheet: Any) -> bool:  # noqa: ANN401 - openpyxl ships no types
    """Add one sheet, its name only when it has cells; return whether it has."""
    sheet.reset_dimensions()  # What a file claims about its used range may be wildly wrong.
    table: list[Sequence[str]] = []
    filled = False
    for row in _rows(sheet):
        if any(row):
            if not filled:
                builder.add(ElementKind.HEADING, sheet.title, level=1)
                filled = True
            table.append(row)
        elif table:
            builder.add_table(linearise(_trimmed(table)))
            table = []
    builder.add_table(linearise(_trimmed(table)))
    return filled


def _add_comments(builder: TextBuilder, data: bytes, sheet: Any) -> None:  # noqa: ANN401
    """Add what people noted on the sheet's cells; openpyxl reads comments only when it reads everything at once."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        path = sheet._worksheet_path.lstrip("/")  # noqa: SLF001 - the only way from a sheet to its part
        for part in related(archive, path, "/comments"):
            root = etree.fromstring(archive.read(part), etree.XMLParser(resolve_entities=False, no_network=True))
            for comment in root.iter("{*}comment"):
                text = "".join(node.text or "" for node in comment.iter("{*}t"))
                builder.add(ElementKind.PARAGRAPH, f"{comment.get('ref', '')}: {text}")


def _rows(sheet: Any) -> Iterator[list[str]]:  # noqa: ANN401
    for row in sheet.iter_rows():  # A bound on the columns would make openpyxl fill every row up to it.
        texts = [_text(cell) for cell in row[:_MOST_COLUMNS]]
        while texts and not texts[-1]:
            texts.pop()
        yield texts


def _trimmed(table: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Cut the columns that are empty in every row on the left: tables rarely begin in A1."""
    left = min((next(index for index, text in enumerate(row) if text) for row in table), default=0)
    return [row[left:] for row in table]


def _text(cell: Any) -> str:  # noqa: ANN401
    """Return a cell as a reader sees it, near enough: dates in ISO form, percentages as such."""
    value = cell.value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float | int):
        return _number(value, cell.number_format or "")
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    return "" if value is None else str(value).strip()


def _number(value: float, number_format: str) -> str:
    if "%" in number_format:
        return f"{value * 100:.10g}%"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - exact in a double
        return str(int(value))
    return repr(value) if isinstance(value, int) else f"{value:.15g}"
