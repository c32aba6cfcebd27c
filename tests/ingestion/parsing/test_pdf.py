import pytest

from core.domain import ElementKind, ParsedDocument, Reason
from ingestion.parsing.canonical import faults
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.pdf import parse_pdf
from tests.ingestion.parsing.pdf_files import PdfPage, Text, page_of, pdf

BODY = ["The committee met in spring and decided what had to be decided,", "then it went home and wrote this down."]


def _elements(parsed: ParsedDocument, kind: ElementKind) -> list[str]:
    return [parsed.text[one.span.start : one.span.end] for one in parsed.elements if one.kind is kind]


def test_pages_keep_their_text_in_order() -> None:
    parsed = parse_pdf(pdf(page_of(*BODY), page_of(), page_of("Third page.")))
    assert [parsed.text[page.span.start : page.span.end].split() for page in parsed.pages] == [
        " ".join(BODY).split(),
        [],
        ["Third", "page."],
    ]
    assert [(page.number, page.width, page.height) for page in parsed.pages][:1] == [(1, 612.0, 792.0)]
    assert faults(parsed) == []


@pytest.mark.parametrize(
    ("rotate", "crop", "expected"),
    [
        (0, None, (72 / 612, 1 - 709 / 792)),
        (0, (50, 100, 562, 742), ((72 - 50) / 512, (742 - 709) / 642)),
        (180, None, (None, None)),
        (90, None, (700 / 792, 72 / 612)),
        (270, None, (1 - 709 / 792, None)),
    ],
)
def test_a_line_box_is_where_the_line_is_displayed(
    rotate: int, crop: tuple[float, float, float, float] | None, expected: tuple[float | None, float | None]
) -> None:
    text = Text(text="Hxxx", x=72, y=700, size=12)
    parsed = parse_pdf(pdf(PdfPage(texts=[text], rotate=rotate, crop=crop)))
    box = parsed.lines[0].box
    assert box.page == 1
    assert 0 < box.x0 < box.x1 < 1
    assert 0 < box.y0 < box.y1 < 1
    for found, wanted in zip((box.x0, box.y0), expected, strict=True):
        assert wanted is None or found == pytest.approx(wanted, abs=0.006)
    if rotate == 180:
        assert box.x1 == pytest.approx(1 - 72 / 612, abs=0.005)
        assert box.y1 == pytest.approx(709 / 792, abs=0.005)
    page = parsed.pages[0]
    assert (page.width > page.height) == (rotate in (90, 270))


def test_larger_and_bold_lines_are_headings_with_levels() -> None:
    texts = [
        Text(text="Annual Report", y=720, size=24),
        Text(text="Costs", y=680, size=16),
        *(Text(text=line, y=650 - 15 * index) for index, line in enumerate(BODY)),
        Text(text="Travel", y=600, bold=True),
        *(Text(text=line, y=580 - 15 * index) for index, line in enumerate(BODY)),
    ]
    parsed = parse_pdf(pdf(PdfPage(texts=texts)))
    headings = [(one.level, parsed.text[one.span.start : one.span.end]) for one in parsed.elements if one.level]
    assert headings == [(1, "Annual Report"), (2, "Costs"), (3, "Travel")]
    assert parsed.elements[-1].headings == ("Annual Report", "Costs", "Travel")
    assert parsed.title == "Annual Report"


def test_running_headers_stay_in_the_text_but_are_marked() -> None:
    pages = [
        PdfPage(texts=[Text(text=f"Contoso - page {number}", y=770), *(page_of(*BODY).texts)]) for number in range(1, 5)
    ]
    parsed = parse_pdf(pdf(*pages))
    assert _elements(parsed, ElementKind.HEADER_FOOTER) == [f"Contoso - page {number}" for number in range(1, 5)]


def test_a_sensible_metadata_title_wins() -> None:
    page = PdfPage(texts=[Text(text="Heading", size=30), Text(text=BODY[0], y=600)])
    assert parse_pdf(pdf(page, title="Travel policy")).title == "Travel policy"
    assert parse_pdf(pdf(page, title="Microsoft Word - draft.docx")).title == "Heading"


def test_a_word_broken_at_a_line_end_keeps_its_hyphen() -> None:
    parsed = parse_pdf(pdf(page_of("The over-", "whelming majority")))
    assert parsed.text == "The over-\nwhelming majority"


def test_what_cannot_be_read_has_a_reason() -> None:
    for data, reason in (
        (pdf(page_of()), Reason.NO_TEXT),
        (pdf(page_of("secret"), encrypted=True), Reason.ENCRYPTED),
        (b"%PDF-1.7\nnothing of the kind", Reason.CORRUPT),
        (pdf(), Reason.CORRUPT),
    ):
        with pytest.raises(ParseFailed) as caught:
            parse_pdf(data)
        assert caught.value.reason is reason
