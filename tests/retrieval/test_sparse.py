import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi  # type: ignore[import-untyped]  # it ships no types

from core.domain import Chunk, Span
from core.ids import DEFAULT_TENANT
from retrieval.index.memory import MemoryIndex
from retrieval.ports import SparseVector
from retrieval.sparse import Bm25Encoder, bm25_text
from tests.retrieval.corpora import chunk, document, point, principal, version

CORPUS = (
    "whales sing whales dive whales",
    "sharks hunt whales",
    "sharks swim sharks hunt sharks rest whales sharks sharks",
    "gulls fly high harbour",
    "harbour seals sleep harbour walls gulls shout",
    "ships leave harbour",
)


def test_document_weight_is_the_saturated_and_length_normalised_frequency() -> None:
    k, b, average = 1.2, 0.75, 4.0
    found = Bm25Encoder(average_length=average, k=k, b=b).encode_document("whale whale shark")
    expected = sorted(tf * (k + 1) / (tf + k * (1 - b + b * 3 / average)) for tf in (1, 2))
    assert sorted(found.values) == pytest.approx(expected)


def test_query_weight_is_one_for_every_distinct_term() -> None:
    assert Bm25Encoder().encode_query("whale shark whale").values == (1.0, 1.0)


def test_stop_words_case_and_endings_do_not_matter() -> None:
    encoder = Bm25Encoder()
    assert encoder.encode_query("The RUNNING of a cat") == encoder.encode_query("run cats")


@pytest.mark.parametrize("text", ["", "   ", "the of and", "?!"])
def test_text_without_terms_is_the_empty_vector(text: str) -> None:
    empty = SparseVector(indices=(), values=())
    assert Bm25Encoder().encode_query(text) == Bm25Encoder().encode_document(text) == empty


def test_id_tells_parameters_apart_and_is_the_same_every_time() -> None:
    assert Bm25Encoder().id == Bm25Encoder().id
    assert Bm25Encoder(average_length=256).id != Bm25Encoder().id
    assert Bm25Encoder(k=0.9).id != Bm25Encoder().id


@given(st.text(max_size=300))
def test_indices_are_ascending_and_unique_and_weights_positive(text: str) -> None:
    for vector in (Bm25Encoder().encode_document(text), Bm25Encoder().encode_query(text)):
        assert list(vector.indices) == sorted(set(vector.indices))
        assert len(vector.indices) == len(vector.values)
        assert all(0 < value < 3 for value in vector.values)


def test_bm25_sees_the_contextual_header() -> None:
    header, text = "Handbook > Leave", "Unused days expire."
    seen = Chunk(
        id=chunk(1),
        tenant=DEFAULT_TENANT,
        document=document(1),
        version=version(1),
        ordinal=0,
        span=Span(start=0, end=len(text)),
        text=text,
        header=header,
    )
    assert bm25_text(seen) == f"{header}\n{text}"


@pytest.mark.parametrize("query", ["whales", "sharks hunt", "harbour gulls", "whales harbour ships sleep", "sharks"])
def test_scores_and_order_agree_with_rank_bm25(query: str) -> None:
    """`rank_bm25` with Qdrant's IDF in place of its own; no stop words in the corpus, so that lengths are the same."""
    tokens = [re.findall(r"\w+", text) for text in CORPUS]
    oracle = BM25Okapi(tokens, k1=1.2, b=0.75)
    oracle.idf = {
        word: math.log((len(tokens) - n + 0.5) / (n + 0.5) + 1)
        for word in oracle.idf
        if (n := sum(word in text for text in tokens))
    }
    expected = dict(enumerate(oracle.get_scores(query.split())))
    encoder, index = Bm25Encoder(average_length=oracle.avgdl), MemoryIndex()
    index.upsert([point(number, terms=encoder.encode_document(text)) for number, text in enumerate(CORPUS)])
    found = index.search_bm25(encoder.encode_query(query), principal=principal("*"), limit=10)
    names = {chunk(number): number for number in range(len(CORPUS))}
    assert {names[hit.chunk] for hit in found} == {number for number, score in expected.items() if score > 0}
    assert [expected[names[hit.chunk]] for hit in found] == pytest.approx([hit.score for hit in found], rel=1e-5)
