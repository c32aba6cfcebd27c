"""Batches through a real, tiny model. The device is the CPU: what is different on a GPU is told where it is."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import structlog.testing
from numpy.typing import NDArray
from tokenizers import Tokenizer

from retrieval.embedding.tokenizer import HuggingFaceTokenizer
from tests.retrieval.tiny_models import save_tiny_sentence_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from retrieval.embedding.torch_batches import TorchBatches

pytestmark = pytest.mark.slow

WORDS = "the plan pays for emergency visits leave expires in march"
TEXTS = [" ".join((WORDS.split() * 4)[number % 7 : number % 7 + 1 + number * 5 % 38]) for number in range(100)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sentence_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(folder: Path) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def _batches(model: "SentenceTransformer", **options: int) -> "TorchBatches":
    from retrieval.embedding.torch_batches import TorchBatches

    tokenizer = HuggingFaceTokenizer(Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str()))
    return TorchBatches(model, tokenizer, **options)


def _encoded(model: "SentenceTransformer", prompt: str) -> NDArray[np.float32]:
    return np.asarray(model.encode(TEXTS, prompt=prompt, normalize_embeddings=True, show_progress_bar=False))


def _shapes(model: "SentenceTransformer") -> list[tuple[int, int]]:
    """Return the list that the shape of every inference will be put into."""
    shapes: list[tuple[int, int]] = []

    def note(_module: object, given: tuple[dict[str, Any]]) -> None:
        shapes.append(tuple(given[0]["input_ids"].shape))

    model.register_forward_pre_hook(note)
    return shapes


@pytest.mark.parametrize("prompt", ["", "query: "])
def test_vectors_are_those_of_the_library_whatever_the_windows_and_batches(
    model: "SentenceTransformer", prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _encoded(model, prompt)
    for window, budget in ((512, 16_384), (7, 64), (1, 1)):
        monkeypatch.setattr("retrieval.embedding.torch_batches._WINDOW", window)
        found = _batches(model, budget=budget).vectors(TEXTS, prompt=prompt)
        assert found == pytest.approx(expected, abs=1e-5)


def test_batches_keep_to_the_budget_and_are_sorted_by_length(model: "SentenceTransformer") -> None:
    batches = _batches(model, budget=256)
    shapes = _shapes(model)
    batches.vectors(TEXTS, prompt="")

    assert sum(rows for rows, _ in shapes) == len(TEXTS)
    assert max(rows * width for rows, width in shapes) <= 256
    assert [width for _, width in shapes] == sorted((width for _, width in shapes), reverse=True)
    assert max(width for _, width in shapes) == 32, "cut to what the model reads"


def test_vectors_of_a_model_in_half_precision_are_float32_finite_and_of_unit_length(
    model: "SentenceTransformer",
) -> None:
    import torch

    expected = _encoded(model, "")
    found = _batches(model.to(dtype=torch.bfloat16)).vectors(TEXTS, prompt="")

    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    assert (found * expected).sum(axis=1).min() > 0.99


def test_where_memory_is_short_a_batch_is_read_in_parts_and_later_ones_are_smaller(
    model: "SentenceTransformer",
) -> None:
    expected = _encoded(model, "")
    batches = _batches(model)

    import torch

    def refuse(_module: object, given: tuple[dict[str, Any]]) -> None:
        if given[0]["input_ids"].numel() > 600:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.register_forward_pre_hook(refuse)
    with structlog.testing.capture_logs() as logs:
        assert batches.vectors(TEXTS, prompt="") == pytest.approx(expected, abs=1e-5)
    assert {event["event"] for event in logs} == {"embedding_memory_short"}
    assert 512 <= logs[-1]["budget"] <= 600
    with structlog.testing.capture_logs() as logs:
        batches.vectors(TEXTS * 2, prompt="")
    assert not logs, "it was learned"


def test_a_text_that_fits_into_no_memory_is_an_error(model: "SentenceTransformer") -> None:
    import torch

    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    batches = _batches(model)
    model.register_forward_pre_hook(refuse)
    with pytest.raises(RuntimeError, match="out of memory"):
        batches.vectors(["the plan"], prompt="")
    model._forward_pre_hooks.clear()
    assert batches.vectors(["the plan"], prompt="").shape == (1, 32), "the turn was given back"


def test_threads_that_embed_ask_and_rerank_at_once_get_what_one_gets(model: "SentenceTransformer") -> None:
    batches = _batches(model, budget=128)
    expected = batches.vectors(TEXTS, prompt="")
    tokens = batches.tokens(TEXTS[:20])
    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(batches.vectors, TEXTS, prompt="") for _ in range(6)]
        others = [pool.submit(batches.tokens, TEXTS[:20]) for _ in range(6)]
        for future in found:
            assert future.result() == pytest.approx(expected, abs=1e-5)
        for other in others:
            assert all(one == pytest.approx(two, abs=1e-4) for one, two in zip(other.result(), tokens, strict=True))
