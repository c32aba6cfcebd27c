import unicodedata
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.domain import Box, Element, ElementKind, Line, Page, ParsedDocument, Span
from ingestion.parsing.canonical import TextBuilder, clean, clean_line, faults

anything = st.text(st.characters(codec=None), max_size=60) | st.text(
    "a\u0301e\u0308\r\n\x00\ufeff \u1100\u1161\u2028", max_size=30
)
blocks = st.tuples(st.sampled_from(ElementKind), anything, st.integers(1, 4))
box = Box(page=1, x0=0.1, y0=0.1, x1=0.9, y1=0.2)


@given(anything)
def test_clean_text_is_nfc_without_carriage_returns_and_cleaning_again_changes_nothing(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not set(cleaned) & {"\r", "\x00", "\ufeff", "\x0b", "\u2028"}
    assert cleaned == clean(cleaned) == cleaned.strip()
    cleaned.encode("utf-8")


@given(anything)
def test_a_clean_line_is_one_line(text: str) -> None:
    assert len(clean_line(text).splitlines()) <= 1


@given(st.lists(st.lists(blocks, max_size=4), min_size=1, max_size=4))
def test_what_the_builder_makes_keeps_all_promises(pages: list[list[tuple[ElementKind, str, int]]]) -> None:
    builder = TextBuilder()
    for number, page in enumerate(pages, 1):
        builder.start_page(number)
        for kind, text, level in page:
            builder.add(kind, text, level=level)
    parsed = builder.build(title=None, language=None)
    assert faults(parsed) == []
    assert len(parsed.pages) == len(pages)
    texts = [clean(text) for page in pages for _, text, _ in page]
    assert "".join(parsed.text.split()) == "".join("".join(texts).split())


@given(anything)
def test_a_line_is_cleaned_as_any_text_is(text: str) -> None:
    assert clean_line(text) == " ".join(clean(text).split())


@given(st.lists(st.lists(anything.map(clean_line), max_size=3), max_size=4))
def test_a_line_is_the_slice_of_its_span(paragraphs: list[list[str]]) -> None:
    builder = TextBuilder()
    builder.start_page(1)
    for lines in paragraphs:
        builder.add_lines(ElementKind.PARAGRAPH, [(line, box) for line in lines])
    parsed = builder.build(title=None, language=None)
    written = [line for lines in paragraphs for line in lines if line]
    assert [parsed.text[line.span.start : line.span.end] for line in parsed.lines] == written
    assert faults(parsed) == []


def test_headings_above_are_the_path_and_equal_levels_replace_each_other() -> None:
    builder = TextBuilder()
    for text, level in (("Plan", 1), ("Costs", 2), ("Fees", 2)):
        builder.add(ElementKind.HEADING, text, level=level)
    builder.add(ElementKind.PARAGRAPH, "Ten euros.")
    builder.add(ElementKind.HEADING, "Annex", level=1)
    paths = [element.headings for element in builder.build(title=None, language=None).elements]
    assert paths == [(), ("Plan",), ("Plan",), ("Plan", "Fees"), ()]


def test_pages_without_text_have_empty_ranges() -> None:
    builder = TextBuilder()
    for number in (1, 2, 3, 4):
        builder.start_page(number)
        if number == 2:
            builder.add(ElementKind.PARAGRAPH, "here")
    spans = [(page.span.start, page.span.end) for page in builder.build(title=None, language=None).pages]
    assert spans == [(0, 0), (0, 4), (4, 4), (4, 4)]


def _document(**changes: object) -> ParsedDocument:
    fields: dict[str, object] = {
        "text": "one two",
        "title": None,
        "language": None,
        "elements": (Element(kind=ElementKind.PARAGRAPH, span=Span(start=0, end=7)),),
    }
    return ParsedDocument(**(fields | changes))  # type: ignore[arg-type]  # built wrong on purpose


def test_a_forged_result_is_found_out() -> None:
    (whole,) = _document().elements
    half = Element(kind=ElementKind.PARAGRAPH, span=Span(start=0, end=3))
    beyond = Element(kind=ElementKind.PARAGRAPH, span=Span(start=0, end=8))
    outside = Line(span=Span(start=0, end=3), box=Box(page=1, x0=0.5, y0=0, x1=0.4, y1=1))
    assert faults(_document()) == []
    for forged in (
        _document(text="one\rtwo"),
        _document(text="e\u0301 n\u0303 o"),
        _document(elements=(half,)),
        _document(elements=(half, half)),
        _document(elements=(beyond,)),
        _document(lines=(outside,)),
        _document(lines=(Line(span=Span(start=5, end=9), box=box),)),
        _document(pages=(Page(number=1, span=Span(start=0, end=6)),)),
        _document(pages=(Page(number=1, span=Span(start=1, end=7)),)),
        _document(title="a\0b"),
        _document(title="a" * 1_001),
        _document(language="e" * 17),
        _document(media_type="m" * 256),
        _document(notes=("fine", "a\0b")),
        _document(notes=("n" * 501,)),
        _document(notes=("n",) * 1_001),
        _document(elements=(replace(whole, headings=("fine", "a\0b")),)),
        _document(elements=(replace(whole, headings=("h" * 201,)),)),
        _document(pages=(Page(number=1, span=whole.span, label="a\0b"),)),
        _document(pages=(Page(number=-1, span=whole.span),)),
        _document(pages_lost=(1 << 40,)),
    ):
        assert faults(forged)
    assert not any("a\0b" in fault for fault in faults(_document(title="a\0b")))


@given(st.text(), st.lists(st.text()), st.text())
def test_titles_notes_and_labels_of_any_file_can_be_kept(title: str, notes: list[str], label: str) -> None:
    builder = TextBuilder()
    builder.start_page(1, label=label * 100)
    builder.add(ElementKind.PARAGRAPH, "words")
    builder.notes += notes * 200
    parsed = builder.build(title=title * 500, language=None)
    assert faults(parsed) == []
    assert parsed.title is None or parsed.title.strip()
    assert bool(parsed.notes) == bool(notes)
