from collections.abc import Sequence
from uuid import UUID, uuid5

import numpy as np
import pytest

from core.ids import NAMESPACE, ChunkId
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.ports import Passage, TokenVectors
from retrieval.reranking.late_interaction import LateInteractionReranker, TokenVectorCache, max_similarity


def passage(text: str, header: str = "") -> Passage:
    return Passage(chunk=ChunkId(uuid5(NAMESPACE, header + text)), text=text, header=header)


def tokens(*rows: tuple[float, ...]) -> TokenVectors:
    return TokenVectors(vectors=np.array(rows, np.float32).reshape(len(rows), 2), spans=((0, 1),) * len(rows))


def test_the_score_is_the_mean_of_each_query_token_s_best_match() -> None:
    assert max_similarity(tokens((1, 0), (0, 1)), tokens((1, 0), (0.6, 0.8))) == pytest.approx((1 + 0.8) / 2)
    assert max_similarity(tokens((1, 0)), tokens()) == 0.0
    assert max_similarity(tokens(), tokens((1, 0))) == 0.0


def test_the_passage_that_answers_scores_highest() -> None:
    passages = [passage("Lunch is served at noon."), passage("Unused leave expires in March."), passage("Be kind.")]
    scores = LateInteractionReranker(HashingEmbedder(), max_tokens=500).score("when does unused leave expire", passages)
    assert scores.index(max(score for score in scores if score is not None)) == 1
    assert all(score is not None and score <= 1.001 for score in scores)


def test_the_header_is_read_too() -> None:
    plain, titled = passage("It expires in March."), passage("It expires in March.", header="Unused leave")
    scores = LateInteractionReranker(HashingEmbedder(), max_tokens=500).score("unused leave", [plain, titled])
    assert (scores[1] or 0) > (scores[0] or 0)


def test_passages_beyond_the_budget_have_no_score_and_the_first_always_has() -> None:
    passages = [passage(f"{'word ' * 30}{number}") for number in range(4)]
    embedder = HashingEmbedder()
    read = [
        [score is not None for score in LateInteractionReranker(embedder, max_tokens=budget).score("word", passages)]
        for budget in (1, 70, 1_000)
    ]
    assert read == [[True, False, False, False], [True, True, False, False], [True] * 4]


def test_nothing_to_rank_and_nothing_asked_are_no_errors() -> None:
    reranker = LateInteractionReranker(HashingEmbedder(), max_tokens=100)
    assert reranker.score("anything", []) == []
    assert reranker.score("", [passage("text")]) == [None]


def test_the_id_names_all_that_determines_scores() -> None:
    ids = {LateInteractionReranker(HashingEmbedder(dim), max_tokens=budget).id for dim in (8, 16) for budget in (1, 2)}
    assert len(ids) == 4


class Counting(HashingEmbedder):
    """The hashing embedder, counting the texts it was given."""

    def __init__(self) -> None:
        super().__init__(32)
        self.read = 0

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        self.read += len(texts)
        return super().token_vectors(texts)


def test_a_passage_is_read_once_and_scores_the_same_from_the_cache() -> None:
    embedder = Counting()
    reranker = LateInteractionReranker(embedder, max_tokens=500)
    passages = [passage("Unused leave expires."), passage("Lunch is at noon."), passage("Unused leave expires.")]
    first = reranker.score("leave", passages)
    assert embedder.read == 3  # the query and two passages
    assert reranker.score("leave", passages) == pytest.approx(first, abs=1e-3)
    assert embedder.read == 4
    assert reranker.vectors.get(passages[0].chunk) is not None


def test_the_cache_holds_no_more_than_it_may_and_drops_what_was_used_least_lately() -> None:
    embedder = Counting()
    one = passage("alpha beta gamma delta")
    cache = TokenVectorCache(embedder, max_bytes=3 * 4 * 32 * 2)
    others = [passage(f"some words here {number}") for number in range(3)]
    cache.passages([one, *others[:2]])
    assert cache.get(one.chunk) is not None
    cache.passages(others[2:])
    assert [cache.get(each.chunk) is not None for each in (one, *others)] == [True, False, True, True]
    assert cache.get(ChunkId(UUID(int=0))) is None
    tiny = TokenVectorCache(embedder, max_bytes=1)
    assert len(tiny.passages([one])[0].spans) == 4
    assert tiny.get(one.chunk) is None


def test_a_passage_s_tokens_are_counted_once() -> None:
    cache = TokenVectorCache(HashingEmbedder())
    passages = [passage("Unused leave expires."), passage("Be kind."), passage("Unused leave expires.")]
    counted = HashingEmbedder().tokenizer.count([one.text for one in passages])
    assert cache.lengths(passages) == counted
    assert cache.lengths(passages) == counted
    assert cache.lengths([Passage(chunk=passages[0].chunk, text="", header="")]) == counted[:1]
