import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain import Element, ElementKind, Page, ParsedDocument, Span
from ingestion.chunking import ChunkDraft, chunk_document, chunker_version, contextual_header, document_title
from retrieval.embedding.hashing import HashingTokenizer

TOKENIZER = HashingTokenizer()
H, P, T, L = ElementKind.HEADING, ElementKind.PARAGRAPH, ElementKind.TABLE, ElementKind.LIST_ITEM


def document(
    *blocks: tuple[ElementKind, tuple[str, ...], str], title: str | None = "Handbook", pages: tuple[int, ...] = ()
) -> ParsedDocument:
    """Make a document of the blocks, parted by blank lines; `pages` are the positions where pages begin."""
    text = ""
    elements = []
    for kind, headings, content in blocks:
        text += "\n\n" if text else ""
        elements.append(Element(kind=kind, span=Span(start=len(text), end=len(text) + len(content)), headings=headings))
        text += content
    edges = [*pages, len(text)]
    return ParsedDocument(
        text=text,
        title=title,
        language="en",
        elements=tuple(elements),
        pages=tuple(
            Page(number=number, span=Span(start=start, end=end))
            for number, (start, end) in enumerate(itertools.pairwise(edges), start=1)
        ),
    )


def chunks(parsed: ParsedDocument, *, max_tokens: int = 60, overlap: int = 0, name: str = "a.md") -> list[ChunkDraft]:
    return list(chunk_document(parsed, name=name, tokenizer=TOKENIZER, max_tokens=max_tokens, overlap_tokens=overlap))


def texts(parsed: ParsedDocument, drafts: list[ChunkDraft]) -> list[str]:
    return [parsed.text[draft.span.start : draft.span.end] for draft in drafts]


def prose(sentences: int, words: int = 9, start: int = 0) -> str:
    return " ".join(
        f"Sentence {number} " + " ".join(f"w{number}x{word}" for word in range(words - 2)) + "."
        for number in range(start, start + sentences)
    )


def test_a_short_document_is_one_chunk() -> None:
    parsed = document((P, (), "Only this."))
    [draft] = chunks(parsed)
    assert texts(parsed, [draft]) == ["Only this."]
    assert draft.header == "Handbook"
    assert (draft.page_first, draft.page_last) == (None, None)


def test_white_space_has_no_chunks() -> None:
    assert chunks(document((P, (), " \n "))) == []
    assert chunks(document()) == []


def test_chunks_end_with_sentences_and_are_of_similar_size() -> None:
    parsed = document((P, (), prose(14)))
    drafts = chunks(parsed)
    found = texts(parsed, drafts)
    assert all(text.endswith(".") and text.startswith("Sentence") for text in found)
    sizes = TOKENIZER.count(found)
    assert max(sizes) - min(sizes) <= 10
    assert len(found) == 3


def test_no_chunk_crosses_a_heading_of_a_section_that_can_stand_alone() -> None:
    parsed = document((H, (), "One"), (P, ("One",), prose(3)), (H, (), "Two"), (P, ("Two",), prose(3, start=3)))
    first, second = chunks(parsed)
    assert texts(parsed, [first, second])[1].startswith("Two")
    assert "Two" not in texts(parsed, [first])[0]


def test_a_bare_heading_goes_with_what_follows() -> None:
    parsed = document((H, (), "Part"), (H, ("Part",), "Chapter"), (P, ("Part", "Chapter"), prose(4)))
    [draft] = chunks(parsed, max_tokens=80)
    assert texts(parsed, [draft])[0].startswith("Part\n\nChapter\n\nSentence 0")
    assert draft.headings == ()


def test_tiny_sections_of_a_page_join() -> None:
    parsed = document((H, (), "One"), (P, ("One",), "Yes."), (H, (), "Two"), (P, ("Two",), "No."))
    assert len(chunks(parsed)) == 1


def test_a_later_chunk_of_a_section_stands_under_its_heading() -> None:
    parsed = document((H, (), "Leave"), (P, ("Leave",), prose(12)))
    *_, last = chunks(parsed)
    assert last.headings == ("Leave",)
    assert last.header == "Handbook > Leave"


def test_overlap_repeats_whole_sentences() -> None:
    parsed = document((P, (), prose(12)))
    drafts = chunks(parsed, overlap=12)
    for before, after in itertools.pairwise(drafts):
        assert after.span.start < before.span.end
        assert re.fullmatch(r"Sentence .*\.", parsed.text[after.span.start : before.span.end])
        assert TOKENIZER.count([parsed.text[after.span.start : before.span.end]])[0] <= 12


def test_chunks_prefer_to_begin_with_a_page_and_repeat_nothing_of_the_one_before() -> None:
    first, second = prose(3), prose(7, start=3)
    parsed = document((P, (), first), (P, (), second), pages=(0, len(first) + 2))
    drafts = chunks(parsed, overlap=12)
    assert [draft.page_first for draft in drafts] == [1, 2, 2]
    assert [draft.page_last for draft in drafts] == [1, 2, 2]


def test_a_sentence_that_runs_over_a_page_stays_whole() -> None:
    first, second = "It pays for the visit and", "for the tests it needs. Nothing else."
    parsed = document((P, (), f"{prose(4)} {first}"), (P, (), f"{second} {prose(4, start=4)}"), pages=(0, 200))
    assert any("the visit and\n\nfor the tests" in text for text in texts(parsed, chunks(parsed)))


def test_a_table_is_split_by_rows_and_later_chunks_name_its_columns_in_the_header_only() -> None:
    rows = [f"name{row} | city{row} | {row}" for row in range(30)]
    parsed = document((T, (), "\n".join(["Name | City | Number", *rows])))
    drafts = chunks(parsed)
    found = texts(parsed, drafts)
    assert [line for text in found for line in text.split("\n")] == ["Name | City | Number", *rows]
    assert drafts[0].header == "Handbook"
    assert {draft.header for draft in drafts[1:]} == {"Handbook\nName | City | Number"}
    assert not any("Name | City" in text for text in found[1:])


def test_numbers_are_no_column_names() -> None:
    parsed = document((T, (), "\n".join(f"{row} | {row + 1}" for row in range(60))))
    assert {draft.header for draft in chunks(parsed)} == {"Handbook"}


def test_a_word_longer_than_the_budget_is_cut() -> None:
    parsed = document((P, (), "x" * 5_000))
    found = texts(parsed, chunks(parsed))
    assert "".join(found) == parsed.text
    assert max(map(len, found)) <= 60 * 16


def test_the_title_is_not_repeated_above_itself() -> None:
    parsed = document((ElementKind.TITLE, (), "Handbook"), (P, (), prose(8)))
    first, second, *_ = chunks(parsed)
    assert first.header == ""
    assert second.header == "Handbook"


def test_a_document_without_title_is_called_by_its_file_name() -> None:
    assert document_title(None, "hr/Employee_hand-book.v2.pdf") == "Employee hand book.v2"
    assert document_title("  ", "4983.txt") == ""
    assert document_title("Real title", "x.txt") == "Real title"


def test_a_header_is_short_whatever_the_headings_are() -> None:
    assert contextual_header("T", ["a", "b", "c", "d"]) == "T > b > c > d"
    assert contextual_header("Same", ["same", "x"]) == "Same > x"
    assert contextual_header(None, []) == ""
    assert contextual_header("A\n title", ["w " * 400])[:11] == "A title > w"
    assert len(contextual_header("t" * 999, ["h" * 999] * 9)) < 500


def test_the_version_names_all_that_determines_the_chunks() -> None:
    versions = {
        chunker_version(max_tokens=tokens, overlap_tokens=overlap, tokenizer=tokenizer)
        for tokens in (100, 200)
        for overlap in (0, 32)
        for tokenizer in ("a", "b")
    }
    assert len(versions) == 8


WORDS = st.sampled_from(
    [
        "word",
        "two words.",
        "A sentence is here. ",
        "e.g. this",
        "x" * 50,
        "日本語のテキスト。",
        "\n",
        " ",
        "- item\n",
        "a | b\n",
        "1,234.5",
        "ﬁ",
    ]
)
CONTENTS = st.one_of(st.lists(WORDS, max_size=60).map(" ".join), st.text(max_size=120))
HEADINGS = st.lists(st.sampled_from(["One", "Two", "A long heading of many words that goes on and on"]), max_size=4)


@st.composite
def parsed_documents(draw: st.DrawFn) -> ParsedDocument:
    """Documents whose elements may leave gaps, overlap, and be out of order, as no parser should."""
    text = draw(CONTENTS) + draw(CONTENTS) + draw(CONTENTS)
    place = st.integers(min_value=0, max_value=len(text))
    elements = draw(
        st.lists(
            st.builds(
                lambda kind, ends, headings: Element(
                    kind=kind, span=Span(start=min(ends), end=max(ends)), headings=tuple(headings)
                ),
                st.sampled_from(list(ElementKind)),
                st.tuples(place, place),
                HEADINGS,
            ),
            max_size=8,
        )
    )
    edges = [0, *sorted(draw(st.lists(place, max_size=4))), len(text)]
    pages = tuple(
        Page(number=number, span=Span(start=start, end=end))
        for number, (start, end) in enumerate(itertools.pairwise(edges), start=1)
    )
    return ParsedDocument(
        text=text,
        title=draw(st.sampled_from([None, "A title", "t " * 200])),
        language=None,
        elements=tuple(elements),
        pages=draw(st.sampled_from([(), pages])),
    )


@given(parsed_documents(), st.sampled_from([(8, 0), (32, 8), (64, 32), (200, 32)]))
@settings(max_examples=250)
def test_every_character_is_in_a_chunk_and_every_chunk_in_the_budget(
    parsed: ParsedDocument, budget: tuple[int, int]
) -> None:
    drafts = chunks(parsed, max_tokens=budget[0], overlap=budget[1])
    covered = [False] * len(parsed.text)
    for draft in drafts:
        text = parsed.text[draft.span.start : draft.span.end]
        assert text
        assert text == text.strip()
        embedded = f"{draft.header}\n{text}" if draft.header else text
        assert draft.tokens == TOKENIZER.count([embedded])[0] + 2 <= budget[0]
        covered[draft.span.start : draft.span.end] = [True] * (draft.span.end - draft.span.start)
        if parsed.pages:
            assert draft.page_first is not None
            assert draft.page_last is not None
            assert draft.page_first <= draft.page_last
    assert all(done or char.isspace() for done, char in zip(covered, parsed.text, strict=True))
    starts = [draft.span.start for draft in drafts]
    assert starts == sorted(starts)
    assert drafts == chunks(parsed, max_tokens=budget[0], overlap=budget[1])


def test_a_large_table_takes_linear_time() -> None:
    rows = "\n".join(f"{row} | name {row} | {row * 7} | some words here" for row in range(20_000))
    parsed = document((T, (), f"Id | Name | Value | Note\n{rows}"))
    assert len(chunks(parsed, max_tokens=200)) > 1_000
