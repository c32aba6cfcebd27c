import random

from hypothesis import given
from hypothesis import strategies as st

from retrieval.index.ties import settle_ties
from retrieval.ports import Candidate
from tests.retrieval.corpora import chunk, document, version


@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3]), max_size=60),
    limit=st.integers(0, 70),
    seed=st.integers(0, 99),
)
def test_any_order_of_equal_scores_gives_the_same_best(scores: list[float], limit: int, seed: int) -> None:
    stored = [
        Candidate(chunk=chunk(number), document=document(number), version=version(1), score=score)
        for number, score in enumerate(scores)
    ]
    dice = random.Random(seed)  # noqa: S311 - the engine's whim

    def fetch(count: int) -> list[Candidate]:
        shuffled = dice.sample(stored, len(stored))
        return sorted(shuffled, key=lambda candidate: -candidate.score)[:count]

    expected = sorted(stored, key=lambda candidate: (-candidate.score, candidate.chunk))[:limit]
    assert settle_ties(fetch, limit=limit) == expected
