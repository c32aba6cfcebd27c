from collections.abc import Collection

import pytest

from core.ids import DocumentId
from retrieval.checking import Arm, CheckedCandidates
from retrieval.ports import Candidate
from tests.retrieval.corpora import chunk, document, principal, version
from tests.retrieval.library import Library

ANN = principal("user:ann", "*")


def library(*, readable: range, of: int) -> Library:
    made = Library()
    for number in range(of):
        made.add(f"d{number}", f"text {number}", allow=["*"] if number in readable else ["user:bob"])
    return made


def candidates(count: int, *, versioned: str = "1") -> list[Candidate]:
    """The only chunk of each document of a library, best first."""
    return [
        Candidate(
            chunk=chunk(f"default/d{number}/{versioned}/0"),
            document=document(f"default/d{number}"),
            version=version(f"default/d{number}/{versioned}"),
            score=1 - number / 1_000,
        )
        for number in range(count)
    ]


class Recorded:
    """An arm over fixed candidates; keeps what it was asked."""

    def __init__(self, found: list[Candidate]) -> None:
        self.found = found
        self.asked: list[tuple[int, int]] = []

    def __call__(self, limit: int, exclude: Collection[DocumentId]) -> list[Candidate]:
        self.asked.append((limit, len(exclude)))
        return [one for one in self.found if one.document not in exclude][:limit]


def test_arm_that_is_full_is_asked_once() -> None:
    fetch, checked = Recorded(candidates(30)), CheckedCandidates(library(readable=range(30), of=30), principal=ANN)
    assert Arm(fetch, depth=10).readable(checked) == candidates(30)[:10]
    assert fetch.asked == [(10, 0)]


def test_arm_that_came_back_short_is_asked_for_more_without_what_is_unreadable() -> None:
    fetch = Recorded(candidates(300))
    checked = CheckedCandidates(library(readable=range(8, 300), of=300), principal=ANN)
    assert Arm(fetch, depth=10).readable(checked) == candidates(300)[8:18]
    assert fetch.asked == [(10, 0), (40, 8)]


def test_arm_never_returns_more_than_its_depth() -> None:
    fetch, checked = Recorded(candidates(90)), CheckedCandidates(library(readable=range(1, 90), of=90), principal=ANN)
    assert len(Arm(fetch, depth=10).readable(checked)) == 10


def test_arm_without_more_to_give_returns_what_there_is() -> None:
    fetch, checked = Recorded(candidates(6)), CheckedCandidates(library(readable=range(2), of=6), principal=ANN)
    assert Arm(fetch, depth=10).readable(checked) == candidates(6)[:2]
    assert fetch.asked == [(10, 0)]


def test_candidate_of_another_version_is_not_shown() -> None:
    checked = CheckedCandidates(library(readable=range(3), of=3), principal=ANN)
    [old] = candidates(1, versioned="0")
    checked.check([old])
    assert not checked.shows(old)
    assert checked.unreadable == set()


def test_candidate_that_was_not_checked_is_not_shown() -> None:
    checked = CheckedCandidates(library(readable=range(3), of=3), principal=ANN)
    assert not checked.shows(candidates(1)[0])


def test_missing_row_is_told_and_its_chunk_not_shown_any_more() -> None:
    made = library(readable=range(2), of=2)
    made.forget_chunks("d0")
    checked, [first, second] = CheckedCandidates(made, principal=ANN), candidates(2)
    checked.check([first, second])
    assert checked.shows(first)
    assert not checked.load([first.chunk, second.chunk])
    assert checked.load([first.chunk, second.chunk])  # nothing new is missing
    assert not checked.shows(first)
    assert checked.shows(second)
    assert checked.chunk(second.chunk).name == "d1"
    with pytest.raises(KeyError):
        checked.chunk(first.chunk)
