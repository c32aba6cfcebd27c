import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.boxes import line_boxes
from core.domain import Box, Line, ParsedDocument, Span

LINES = tuple(
    Line(
        span=Span(start=11 * number, end=11 * number + 10),
        box=Box(page=1, x0=0.1, y0=number / 10, x1=0.6, y1=number / 10 + 0.05),
    )
    for number in range(5)
)
DOCUMENT = ParsedDocument(text="x" * 55, title=None, language=None, elements=(), lines=LINES)


def test_the_first_and_last_line_are_cut_by_their_share_of_characters() -> None:
    first, middle, last = line_boxes(DOCUMENT, Span(start=5, end=24))
    assert [first.x0, first.x1] == pytest.approx([0.35, 0.6])
    assert middle == LINES[1].box
    assert [last.x0, last.x1] == pytest.approx([0.1, 0.2])


def test_upright_lines_are_cut_along_their_length() -> None:
    upright = Line(span=Span(start=0, end=10), box=Box(page=1, x0=0.1, y0=0.2, x1=0.15, y1=0.7))
    document = ParsedDocument(text="x" * 10, title=None, language=None, elements=(), lines=(upright,))
    (box,) = line_boxes(document, Span(start=0, end=5))
    assert [box.x0, box.x1, box.y0, box.y1] == pytest.approx([0.1, 0.15, 0.2, 0.45])


@given(st.integers(0, 55), st.integers(0, 55))
def test_exactly_the_touched_lines_have_boxes_and_none_outgrows_its_line(one: int, other: int) -> None:
    span = Span(start=min(one, other), end=max(one, other))
    boxes = line_boxes(DOCUMENT, span)
    touched = [line for line in LINES if max(line.span.start, span.start) < min(line.span.end, span.end)]
    assert len(boxes) == len(touched)
    for box, line in zip(boxes, touched, strict=True):
        assert line.box.x0 - 1e-9 <= box.x0 <= box.x1 <= line.box.x1 + 1e-9


def test_a_document_without_lines_has_no_boxes() -> None:
    assert line_boxes(ParsedDocument(text="x", title=None, language=None, elements=()), Span(start=0, end=1)) == ()
