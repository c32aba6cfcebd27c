from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import ChunkId
from retrieval.fusion import Fused, reciprocal_rank_fusion
from tests.retrieval.corpora import chunk

A, B, C, D = (chunk(name) for name in "abcd")
RANKINGS = st.lists(st.lists(st.sampled_from([chunk(number) for number in range(12)]), unique=True), max_size=4)


def test_score_is_the_sum_of_reciprocal_ranks_from_zero() -> None:
    fused = reciprocal_rank_fusion([[A, B, C], [B, D]], k=2)
    assert fused == [
        Fused(chunk=B, score=1 / 3 + 1 / 2),
        Fused(chunk=A, score=1 / 2),
        Fused(chunk=D, score=1 / 3),
        Fused(chunk=C, score=1 / 4),
    ]


def test_the_papers_sixty_is_sixty_one_here() -> None:
    [best] = reciprocal_rank_fusion([[A], [A]], k=61)
    assert best.score == pytest.approx(2 / (60 + 1))


def test_equal_scores_prefer_the_first_ranking_and_never_look_at_ids() -> None:
    assert [item.chunk for item in reciprocal_rank_fusion([[A], [B]], k=2)] == [A, B]
    assert [item.chunk for item in reciprocal_rank_fusion([[B], [A]], k=2)] == [B, A]
    assert [item.chunk for item in reciprocal_rank_fusion([[A, B, C], [C, B, A]], k=60)] == [A, C, B]


def test_one_ranking_keeps_its_order() -> None:
    assert [item.chunk for item in reciprocal_rank_fusion([[C, A, B]], k=2)] == [C, A, B]


def test_nothing_fuses_to_nothing() -> None:
    assert reciprocal_rank_fusion([], k=2) == reciprocal_rank_fusion([[], []], k=2) == []


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be"):
        reciprocal_rank_fusion([[A]], k=k)


def test_ranking_that_names_a_chunk_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        reciprocal_rank_fusion([[A, B, A]], k=2)


@given(rankings=RANKINGS, k=st.integers(1, 100))
def test_every_chunk_comes_once_with_falling_scores(rankings: list[list[ChunkId]], k: int) -> None:
    fused = reciprocal_rank_fusion(rankings, k=k)
    assert sorted(item.chunk for item in fused) == sorted({item for ranking in rankings for item in ranking})
    assert all(first.score >= second.score for first, second in pairwise(fused))


@given(rankings=RANKINGS, k=st.integers(1, 100))
def test_scores_do_not_depend_on_the_order_of_the_rankings(rankings: list[list[ChunkId]], k: int) -> None:
    forwards = {item.chunk: item.score for item in reciprocal_rank_fusion(rankings, k=k)}
    assert forwards == {item.chunk: item.score for item in reciprocal_rank_fusion(rankings[::-1], k=k)}


@given(rankings=RANKINGS, k=st.integers(1, 100))
def test_chunk_that_is_ahead_in_every_ranking_is_ahead(rankings: list[list[ChunkId]], k: int) -> None:
    order = [item.chunk for item in reciprocal_rank_fusion([[A, B, *ranking] for ranking in rankings], k=k)]
    assert not rankings or order.index(A) < order.index(B)
