import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.ranking import mean, mrr_at, ndcg_at, recall_at

GAINS = {"a": 1.0, "b": 1.0, "c": 2.0}


def test_ndcg_by_hand() -> None:
    # DCG: b at rank 2, c at rank 3; ideal order: c, a, b.
    expected = (1 / math.log2(3) + 2 / math.log2(4)) / (2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4))
    assert ndcg_at(["x", "b", "c", "y", "a"], GAINS, 3) == pytest.approx(expected)
    assert expected == pytest.approx(0.5209, abs=1e-4)


def test_ideal_order_has_ndcg_one_also_when_there_are_more_relevant_items_than_k() -> None:
    assert ndcg_at(["c", "a"], GAINS, 2) == 1.0
    assert ndcg_at(["c", "a", "b"], GAINS, 10) == 1.0


def test_item_named_twice_gains_once() -> None:
    assert ndcg_at(["a", "a"], {"a": 1.0, "b": 1.0}, 2) == ndcg_at(["a", "x"], {"a": 1.0, "b": 1.0}, 2)
    assert recall_at(["a", "a"], {"a": 1.0, "b": 1.0}, 2) == 0.5


def test_mrr_by_hand() -> None:
    assert mrr_at(["x", "y", "b", "a"], GAINS, 10) == pytest.approx(1 / 3)
    assert mrr_at(["x", "y", "b"], GAINS, 2) == 0.0


def test_recall_by_hand() -> None:
    assert recall_at(["x", "a", "b"], GAINS, 2) == pytest.approx(1 / 3)
    assert recall_at(["x", "a", "b"], GAINS, 3) == pytest.approx(2 / 3)


def test_items_without_positive_gain_are_not_relevant() -> None:
    judged = {"a": 0.0, "b": -1.0}
    assert ndcg_at(["a", "b"], judged, 2) == mrr_at(["a", "b"], judged, 2) == recall_at(["a", "b"], judged, 2) == 0.0


def test_nothing_ranked_or_nothing_relevant_scores_zero() -> None:
    for measure in (ndcg_at, mrr_at, recall_at):
        assert measure([], GAINS, 10) == 0.0
        assert measure(["a"], {}, 10) == 0.0


def test_mean_of_nothing_is_zero() -> None:
    assert mean([]) == 0.0
    assert mean([0.0, 1.0]) == 0.5


@given(ranked=st.lists(st.sampled_from("abcxyz")), k=st.integers(1, 8))
def test_measures_lie_between_zero_and_one(ranked: list[str], k: int) -> None:
    for measure in (ndcg_at, mrr_at, recall_at):
        assert 0.0 <= measure(ranked, GAINS, k) <= 1.0 + 1e-12
