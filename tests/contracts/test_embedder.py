"""What every embedder promises, kept by all of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from core.settings import Settings
from retrieval.embedding.convert import convert
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.embedding.openvino import OpenVinoEmbedder
from retrieval.embedding.quantize import quantize
from retrieval.embedding.sentence_transformers import SentenceTransformersEmbedder
from retrieval.ports import Embedder

MODEL = "all-MiniLM-L6-v2"
TEXTS = [
    "The plan pays for emergency visits.",
    "Unused leave expires in March. " * 40,
    "ACME",
    "Größe und Maß 日本語",
    "",
    "Region | Q1\nNorth | 120",
]


def quantised_cache() -> Path:
    folder = Settings().cache
    quantize(MODEL, folder)
    return folder


def converted_cache() -> Path:
    folder = Settings().cache
    convert(MODEL, folder)
    return folder


@cache
def build(kind: str) -> Embedder:
    makers: dict[str, Callable[[], Embedder]] = {
        "hashing": lambda: HashingEmbedder(64, max_tokens=128),
        "openvino-latency": lambda: OpenVinoEmbedder(MODEL, cache=converted_cache()),
        "openvino-throughput": lambda: OpenVinoEmbedder(MODEL, cache=converted_cache(), mode="throughput"),
        "openvino-int8": lambda: OpenVinoEmbedder(MODEL, cache=quantised_cache(), mode="throughput", quantised=True),
        "sentence-transformers": lambda: SentenceTransformersEmbedder(MODEL, device="cpu"),
    }
    return makers[kind]()


@pytest.fixture(
    params=[
        "hashing",
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in ("openvino-latency", "openvino-throughput", "openvino-int8", "sentence-transformers")
        ),
    ]
)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return build(request.param)


def test_vectors_are_float32_finite_and_of_unit_length(embedder: Embedder) -> None:
    vectors = embedder.embed_documents(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=0.005)
    query = embedder.embed_query("")
    assert query.shape == (embedder.dim,)
    assert float(np.linalg.norm(query)) == pytest.approx(1, abs=0.005)


def test_rows_keep_the_order_of_the_texts(embedder: Embedder) -> None:
    together = embedder.embed_documents(TEXTS * 7)
    alone = np.array([embedder.embed_documents([text])[0] for text in TEXTS])
    assert (together * np.tile(alone, (7, 1))).sum(axis=1).min() > 0.998


def test_a_query_is_nearest_to_what_it_asks_for(embedder: Embedder) -> None:
    documents = [
        "Employees may take parental leave of twelve weeks.",
        "The cafeteria serves lunch from noon.",
        "Passwords are changed every ninety days.",
    ]
    scores = embedder.embed_documents(documents) @ embedder.embed_query("how often are passwords changed")
    assert int(scores.argmax()) == 2


def test_nothing_to_embed_is_no_error(embedder: Embedder) -> None:
    assert embedder.embed_documents([]).shape == (0, embedder.dim)
    assert embedder.token_vectors([]) == []


def test_token_vectors_stand_for_the_tokens_of_the_text(embedder: Embedder) -> None:
    for text, found in zip(TEXTS, embedder.token_vectors(TEXTS), strict=True):
        assert found.vectors.dtype == np.float32
        assert found.vectors.shape == (len(found.spans), embedder.dim)
        assert found.vectors.shape[0] <= embedder.max_tokens - 2
        assert list(found.spans) == embedder.tokenizer.offsets(text)[: len(found.spans)]
        assert len(found.spans) == min(len(embedder.tokenizer.offsets(text)), embedder.max_tokens - 2)
        if len(found.spans):
            assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=0.005)


def test_what_is_beyond_the_longest_input_changes_nothing(embedder: Embedder) -> None:
    long = "word " * 2 * embedder.max_tokens
    one, other = embedder.embed_documents([long, long + "entirely different ending"])
    assert float(one @ other) > 0.9999


def test_the_tokenizer_counts_and_places_every_token(embedder: Embedder) -> None:
    for text in (*TEXTS, "word " * 1_000):
        offsets = embedder.tokenizer.offsets(text)
        assert embedder.tokenizer.count([text]) == [len(offsets)]
        assert all(0 <= start <= end <= len(text) for start, end in offsets)
        assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
    assert embedder.tokenizer.count([]) == []


def test_many_threads_get_what_one_gets(embedder: Embedder) -> None:
    queries = [f"question number {number} about topic {number % 7}" for number in range(24)]
    expected = [embedder.embed_query(query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        documents = pool.submit(embedder.embed_documents, TEXTS * 4)
        found = list(pool.map(embedder.embed_query, queries))
        assert documents.result().shape == (4 * len(TEXTS), embedder.dim)
    assert all(float(one @ other) > 0.999 for one, other in zip(expected, found, strict=True))


def test_what_it_computes_with_is_told_and_is_no_part_of_the_id(embedder: Embedder) -> None:
    number, _, where = embedder.precision.rpartition(" on ")
    assert (bool(number), where) == (True, "cpu")
    assert embedder.precision not in embedder.id


def test_the_id_names_the_vectors(embedder: Embedder) -> None:
    assert "@" in embedder.id
    assert embedder.id == embedder.id.strip()


@pytest.mark.slow
def test_the_converted_model_gives_the_vectors_of_the_original() -> None:
    ours = build("openvino-latency").embed_documents(TEXTS)
    original = build("sentence-transformers").embed_documents(TEXTS)
    assert (ours * original).sum(axis=1).min() > 0.999
