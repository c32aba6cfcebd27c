import io

import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from core.domain import ElementKind, Reason
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.slides import parse_pptx


def _saved(presentation: pptx.presentation.Presentation) -> bytes:
    presentation.save(buffer := io.BytesIO())
    return buffer.getvalue()


def test_each_slide_is_a_page_headed_by_its_title() -> None:
    presentation = pptx.Presentation()
    for title, body in (("Plan", "First we plan"), ("Costs", "Then we pay")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
        slide.notes_slide.notes_text_frame.text = f"Say it slowly: {title}"
    parsed = parse_pptx(_saved(presentation))
    assert parsed.title == "Plan"
    assert [parsed.text[page.span.start : page.span.end].split("\n")[0] for page in parsed.pages] == ["Plan", "Costs"]
    assert parsed.elements[-1].headings == ("Costs",)
    assert "Say it slowly: Costs" in parsed.text
    assert parsed.pages[0].width == 720
    assert faults(parsed) == []


def test_tables_and_charts_are_tables() -> None:
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    box = (Inches(1), Inches(2), Inches(6), Inches(2))
    table = slide.shapes.add_table(3, 2, *box).table
    for index, text in enumerate(("City", "Limit", "North", "120", "", "80")):
        table.cell(index // 2, index % 2).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    data = CategoryChartData()  # type: ignore[no-untyped-call]  # it ships half its types
    data.categories = ["2023", "2024"]
    data.add_series("Ducks", (12.5, 30))  # type: ignore[no-untyped-call]  # the same
    slide.shapes.add_chart(XL_CHART_TYPE.BAR_CLUSTERED, *box, data)
    parsed = parse_pptx(_saved(presentation))
    tables = [parsed.text[one.span.start : one.span.end] for one in parsed.elements if one.kind is ElementKind.TABLE]
    assert tables == ["City | Limit\nNorth | 120\nNorth | 80", "| Ducks\n2023 | 12.5\n2024 | 30"]


def test_slides_without_words_have_no_text() -> None:
    presentation = pptx.Presentation()
    presentation.slides.add_slide(presentation.slide_layouts[6])
    with pytest.raises(ParseFailed) as caught:
        parse_pptx(_saved(presentation))
    assert caught.value.reason is Reason.NO_TEXT
