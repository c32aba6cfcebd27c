import hashlib
import time
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain import Citation
from generation.citations import Bound, BoundCitation, BoundText, CitationBinder, Unsupported, is_refusal
from generation.ports import Evidence
from tests.generation.samples import HOLIDAY, PARKING, chunk_of, evidence_of

EVIDENCE = evidence_of(PARKING, HOLIDAY, start=100)


def bound(text: str, cuts: Sequence[int] = (), evidence: Sequence[Evidence] = EVIDENCE) -> list[Bound]:
    binder = CitationBinder(evidence)
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    out: list[Bound] = []
    for a, b in pairwise(edges):
        out += binder.feed(text[a:b])
    return out + binder.finish()


def shown(out: Sequence[Bound]) -> str:
    return "".join(item.text for item in out if isinstance(item, BoundText))


def cited(out: Sequence[Bound]) -> list[Citation]:
    return [item.citation for item in out if isinstance(item, BoundCitation)]


def warned(out: Sequence[Bound]) -> list[str]:
    return [item.sentence for item in out if isinstance(item, Unsupported)]


def test_a_marker_becomes_a_citation_of_the_very_words() -> None:
    out = bound("Parking costs 40 euros a month [1].")
    (citation,) = cited(out)
    assert shown(out) == "Parking costs 40 euros a month [1]."
    assert (citation.quote, citation.n, citation.verified) == ("Parking costs 40 euros a month", 1, True)
    assert (citation.span.start, citation.span.end) == (100, 130)
    assert citation.hash == hashlib.sha256(citation.quote.encode()).hexdigest()


def test_numbers_count_quotes_in_order_of_first_use() -> None:
    out = bound("Employees have 28 days of holiday a year [2]. Bicycles are free [1]. You have 28 days of holiday [2].")
    assert shown(out).startswith("Employees have 28 days of holiday a year [1]. Bicycles are free [2].")
    assert [citation.n for citation in cited(out)] == list(range(1, len(cited(out)) + 1))


def test_a_marker_after_the_full_stop_belongs_to_the_sentence_before() -> None:
    out = bound("Bicycles are free. [1] Employees have 28 days of holiday a year.[2]")
    assert shown(out) == "Bicycles are free. [1] Employees have 28 days of holiday a year.[2]"
    assert [citation.quote for citation in cited(out)] == [
        "Bicycles are free.",
        "Employees have 28 days of holiday a year.",
    ]


@pytest.mark.parametrize("marker", ["[1, 2]", "[1,2]", "[1-2]", "[1; 2]", "[1][2]", "[1][1][2]"])
def test_markers_of_several_come_out_one_by_one(marker: str) -> None:
    text = "Parking costs 40 euros a month and there are 28 days of holiday a year"
    assert shown(bound(f"{text} {marker}.")) == f"{text} [1][2]."


@pytest.mark.parametrize("marker", ["[9]", "[0]", "[7, 8]", "[9999]"])
def test_markers_to_nothing_leave_no_trace(marker: str) -> None:
    assert shown(bound(f"Bicycles are free [1] {marker}. The end.")) == "Bicycles are free [1]. The end."
    assert shown(bound(f"Bicycles are free [1] {marker} The end.")) == "Bicycles are free [1] The end."


def test_brackets_that_are_no_markers_stay() -> None:
    for text in ("a[i] and [x] and []", "[see 1]", "[", "[1", "x [12 and"):
        assert shown(bound(text)) == text


def test_a_marker_before_any_text_is_dropped() -> None:
    assert shown(bound("[1] Yes.")) == "Yes."


def test_a_supported_sentence_without_a_marker_gets_one() -> None:
    out = bound("Bicycles are free. And that is that.")
    assert shown(out) == "Bicycles are free. And that is that."  # Two words are no claim to be checked.
    out = bound("Parking costs 40 euros a month. Good.")
    assert shown(out) == "Parking costs 40 euros a month. [1] Good."
    assert cited(out)[0].verified


def test_an_unsupported_sentence_is_marked_and_told_of() -> None:
    out = bound("The canteen serves fresh lobster daily. Bicycles are free [1].")
    assert shown(out) == "The canteen serves fresh lobster daily. [?] Bicycles are free [1]."
    (warning,) = (item for item in out if isinstance(item, Unsupported))
    assert shown(out)[warning.span.start : warning.span.end] == "The canteen serves fresh lobster daily. [?]"


def test_a_citation_that_does_not_verify_says_so_and_the_sentence_is_marked() -> None:
    out = bound("Parking costs 90 euros a month [1].")
    assert not cited(out)[0].verified
    assert shown(out) == "Parking costs 90 euros a month [1]. [?]"
    assert warned(out) == ["Parking costs 90 euros a month."]


def test_saying_that_one_does_not_know_needs_no_evidence() -> None:
    for text in (
        "I don't know: the documents that you may read do not say.",
        "The passages do not mention lobster at all.",
    ):
        assert is_refusal(text)
        assert warned(bound(text)) == []


def test_the_same_words_that_verify_one_sentence_and_not_another_are_two_citations() -> None:
    out = bound("Parking costs 40 euros a month in all [1]. Parking costs 50 euros a month in all [1].")
    assert [citation.verified for citation in cited(out)] == [True, False]


def test_overlapping_chunks_of_a_document_give_one_citation() -> None:
    first = EVIDENCE[0].chunk
    other = chunk_of(PARKING[32:], start=132, document=first.document, version=first.version)
    both = (EVIDENCE[0], Evidence(n=2, chunk=other, name="x", title=None, score=0.1))
    sentence = "Employees register the car at the front desk."
    out = bound(f"{sentence} [1] {sentence} [2]", evidence=both)
    assert len(cited(out)) == 1
    assert shown(out) == f"{sentence} [1] {sentence} [1]"


SENTENCES = ("Parking costs 40 euros a month", "Bicycles are free", "There are 28 days of holiday", "Lobster is red")
SIGNS = [
    "[1]",
    "[2]",
    "[9]",
    "[1, 2]",
    "[1-2]",
    "[^1]",
    "[1",
    "[",
    "]",
    ". ",
    " ",
    ".",
    "! ",
    "\n",
    "\n\n- ",
    "e.g. ",
    "3.5",
    "**",
    "?",
    "你好。",
    "(",
    ")",
    "I don't know. ",
]
PIECES = st.lists(st.sampled_from((*SENTENCES, *SIGNS)), max_size=14).map("".join)


@given(PIECES, st.lists(st.integers(0, 300), max_size=10))
def test_cutting_the_text_anywhere_gives_the_same(text: str, cuts: list[int]) -> None:
    once, often = bound(text), bound(text, cuts)
    assert shown(once) == shown(often)
    assert cited(once) == cited(often)
    assert warned(once) == warned(often)


@given(PIECES | st.text(max_size=300))
def test_every_citation_is_a_slice_of_its_passage_and_every_marker_has_one(text: str) -> None:
    out = bound(text)
    chunks = {item.chunk.id: item.chunk for item in EVIDENCE}
    for citation in cited(out):
        chunk = chunks[citation.chunk]
        assert (
            citation.quote == chunk.text[citation.span.start - chunk.span.start : citation.span.end - chunk.span.start]
        )
    known: set[int] = set()
    for item in out:
        if isinstance(item, BoundCitation):
            known.add(item.citation.n)
        elif isinstance(item, BoundText):
            assert {n for n in range(1, 10) if f"[{n}]" in item.text} <= known


def test_text_without_markers_or_claims_comes_out_as_it_is() -> None:
    text = "Hello!\n\nIs it so?\n- yes\n- no"
    assert shown(bound(text)) == text


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a", "a ", ". ", "[", "[1]", "[1] ", "x [1]. ", " ", "\n", "[1,", "A. "])
def test_hostile_repetition_takes_linear_time(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    started = time.process_time()
    bound(text)
    assert time.process_time() - started < 20  # seconds: quadratic time would take minutes
