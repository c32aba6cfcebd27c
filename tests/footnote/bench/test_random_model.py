from pathlib import Path
from statistics import mean

import pytest

from core.settings import Settings
from footnote.bench.random_model import SPECIAL_TOKENS, random_texts, save_random_model
from footnote.bench.shapes import SHAPES
from footnote.bench.texts import MOST_TOKENS
from retrieval.factory import build_embedder
from retrieval.ports import Embedder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder: Path = tmp_path_factory.mktemp("models") / "tiny"
    save_random_model(folder, SHAPES["tiny"])
    return build_embedder(Settings(embedder=f"sentence-transformers:{folder}"), device="cpu")


@pytest.mark.slow
def test_the_model_is_of_its_shape_and_tells_texts_apart(embedder: Embedder) -> None:
    assert (embedder.dim, embedder.max_tokens) == (SHAPES["tiny"].hidden, SHAPES["tiny"].max_tokens)
    assert embedder.precision == "float32 on cpu"
    one, other = embedder.embed_documents(random_texts(embedder.tokenizer, 400)[:2])
    assert float(one @ other) < 0.9999


@pytest.mark.slow
def test_texts_are_the_same_every_time_and_as_long_as_passages(embedder: Embedder) -> None:
    texts = random_texts(embedder.tokenizer, 20_000)
    counts = embedder.tokenizer.count(texts)

    assert texts == random_texts(embedder.tokenizer, 20_000)
    assert len(set(texts)) == len(texts)
    assert 20_000 <= sum(counts) < 20_000 + MOST_TOKENS
    assert (min(counts) >= 16, max(counts) <= MOST_TOKENS) == (True, True)
    assert 150 < mean(counts) < 220
    assert SHAPES["tiny"].max_tokens == MOST_TOKENS + SPECIAL_TOKENS, "nothing is cut off"


@pytest.mark.slow
def test_words_are_cut_as_often_as_in_ordinary_text_and_all_are_known(embedder: Embedder) -> None:
    text = " ".join(random_texts(embedder.tokenizer, 20_000))

    assert 1.1 < embedder.tokenizer.count([text])[0] / len(text.split()) < 1.7
    assert "[UNK]" not in text
