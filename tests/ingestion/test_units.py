import itertools

from core.domain import Element, ElementKind, Page, ParsedDocument, Span
from ingestion.unit_store import Seam, Unit
from ingestion.units import PageFinder, TokenCounts, section_units, trim
from retrieval.embedding.hashing import HashingTokenizer

TOKENIZER = HashingTokenizer()


def units_of(text: str, *elements: Element, pages: tuple[Page, ...] = (), most: int = 50) -> list[list[Unit]]:
    parsed = ParsedDocument(text=text, title=None, language=None, elements=elements, pages=pages)
    return [list(section) for section in section_units(parsed, TokenCounts(text, TOKENIZER), most)]


def element(kind: ElementKind, start: int, end: int, *headings: str) -> Element:
    return Element(kind=kind, span=Span(start=start, end=end), headings=headings)


def test_a_range_counts_as_the_tokenizer_counts_it() -> None:
    text = "one two, three " * 3_000  # more than is tokenized at a time
    counts = TokenCounts(text, TOKENIZER)
    assert counts.size(0, len(text)) == 12_000
    assert counts.size(4, 8) == 2
    assert counts.size(0, 0) == 0


def test_a_long_word_counts_by_its_length() -> None:
    assert TokenCounts("x" * 160, TOKENIZER).size(0, 160) == 10


def test_cuts_come_before_words_and_leave_no_piece_too_large() -> None:
    text = "alpha beta gamma delta " * 10
    counts = TokenCounts(text, TOKENIZER)
    edges = [0, *counts.cuts(0, len(text), 7), len(text)]
    assert all(counts.size(start, end) <= 7 for start, end in itertools.pairwise(edges))
    assert all(text[edge - 1] == " " for edge in edges[1:-1])


def test_text_between_elements_is_kept_in_its_section() -> None:
    text = "Leave\nkept between\nTwenty days."
    [section] = units_of(
        text, element(ElementKind.HEADING, 0, 5), element(ElementKind.PARAGRAPH, 19, len(text), "Leave")
    )
    assert [text[unit.start : unit.end] for unit in section] == ["Leave", "kept between", "Twenty days."]
    assert [unit.headings for unit in section] == [(), ("Leave",), ("Leave",)]
    assert [unit.heading for unit in section] == [True, False, False]


def test_a_running_header_ends_no_section() -> None:
    text = "First part.\nPage 2\nsecond part."
    sections = units_of(
        text,
        element(ElementKind.PARAGRAPH, 0, 11, "A"),
        element(ElementKind.HEADER_FOOTER, 12, 18),
        element(ElementKind.PARAGRAPH, 19, len(text), "A"),
    )
    assert len(sections) == 1


def test_a_new_page_is_a_seam() -> None:
    text = "On page one. Still there.\nOn page two."
    pages = (Page(number=1, span=Span(start=0, end=26)), Page(number=2, span=Span(start=26, end=len(text))))
    [section] = units_of(text, element(ElementKind.PARAGRAPH, 0, len(text)), pages=pages)
    assert [(unit.page, unit.seam) for unit in section] == [(1, Seam.BLOCK), (1, Seam.SENTENCE), (2, Seam.PAGE)]


def test_the_page_of_a_position_is_the_last_one_begun() -> None:
    pages = PageFinder([Page(number=4, span=Span(start=0, end=5)), Page(number=7, span=Span(start=8, end=9))])
    assert [pages.at(position) for position in (0, 5, 7, 8, 100)] == [4, 4, 4, 7, 7]
    assert PageFinder([]).at(3) is None


def test_a_range_is_trimmed_or_nothing() -> None:
    assert trim("  a b \n", 0, 7) == Span(start=2, end=5)
    assert trim("  a", 0, 2) is None
