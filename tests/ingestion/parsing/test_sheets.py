import io
from datetime import date

import openpyxl  # type: ignore[import-untyped]  # it ships no types
import pytest
from openpyxl.comments import Comment  # type: ignore[import-untyped]  # it ships no types

from core.domain import ElementKind, Reason
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.sheets import parse_xlsx


def _saved(workbook: openpyxl.Workbook) -> bytes:
    workbook.save(buffer := io.BytesIO())
    return buffer.getvalue()


def test_each_sheet_is_a_page_and_blank_rows_part_tables() -> None:
    workbook = openpyxl.Workbook()
    first = workbook.active
    first.title = "Limits"
    for row in (["City", "Limit"], ["Oslo", 120.0], [], [None, "Note", "Text"], [None, date(2024, 5, 1), True]):
        first.append(row)
    workbook.create_sheet("Empty")
    parsed = parse_xlsx(_saved(workbook))
    assert parsed.text == "Limits\n\nCity | Limit\nOslo | 120\n\nNote | Text\n2024-05-01 | TRUE"
    assert [page.label for page in parsed.pages] == ["Limits", "Empty"]
    assert [element.kind for element in parsed.elements] == [ElementKind.HEADING, ElementKind.TABLE, ElementKind.TABLE]
    assert faults(parsed) == []


def test_percentages_and_comments_are_read_as_shown() -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet["A1"], sheet["B1"] = "Share", 0.25
    sheet["B1"].number_format = "0%"
    sheet["B1"].comment = Comment("Rounded, of course", "Ann")
    text = parse_xlsx(_saved(workbook)).text
    assert "Share | 25%" in text
    assert "B1: " in text
    assert "Rounded, of course" in text


def test_a_cell_at_the_far_end_of_a_sheet_costs_nothing() -> None:
    workbook = openpyxl.Workbook()
    workbook.active["A1"] = "here"
    workbook.active.cell(200_000, 1, "and there")
    assert parse_xlsx(_saved(workbook)).text == "Sheet\n\nhere\n\nand there"


def test_a_workbook_without_cells_is_empty() -> None:
    with pytest.raises(ParseFailed) as caught:
        parse_xlsx(_saved(openpyxl.Workbook()))
    assert caught.value.reason is Reason.EMPTY
