"""The choice, with a real model; that a CPU is given something to try stands for the GPU that is not here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retrieval.embedding import half_precision
from retrieval.embedding.convert import LOWEST_COSINE
from retrieval.embedding.half_precision import FULL, Tried, load_fastest, worth_trying
from tests.retrieval.tiny_models import save_tiny_sentence_model

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sentence_model(tmp_path_factory.mktemp("models") / "tiny")


def _loading(folder: Path) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def _try(*names: str) -> Tried:
    def tried(_device: "torch.device") -> Sequence[str]:
        return names

    return tried


def test_a_cpu_stays_at_full_precision_and_nothing_is_measured(folder: Path) -> None:
    import torch

    assert worth_trying(torch.device("cpu")) == ()
    model, precision = load_fastest(lambda: _loading(folder))
    assert (str(model.dtype), precision.name) == ("torch.float32", FULL)
    assert not precision.rates
    assert not precision.cosines


def test_what_is_chosen_is_the_first_that_keeps_the_vectors_and_is_faster_than_full(folder: Path) -> None:
    model, precision = load_fastest(lambda: _loading(folder), _try("bfloat16", "float16"))

    assert str(model.dtype) == f"torch.{precision.name}"
    kept = [name for name, cosine in precision.cosines.items() if cosine >= LOWEST_COSINE]
    assert set(precision.rates) == {FULL, *kept}
    assert min(precision.rates.values()) > 0
    faster = [name for name in kept if precision.rates[name] > precision.rates[FULL]]
    assert precision.name == (faster[0] if faster else FULL)


def test_what_changes_the_vectors_is_never_chosen_however_fast(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "LOWEST_COSINE", 1.1)
    model, precision = load_fastest(lambda: _loading(folder), _try("bfloat16"))

    assert (str(model.dtype), precision.name) == ("torch.float32", FULL)
    assert set(precision.rates) == {FULL}
    assert 0.9 < precision.cosines["bfloat16"] <= 1


def test_what_overflows_is_never_chosen(folder: Path) -> None:
    import torch

    def load() -> "SentenceTransformer":
        model = _loading(folder)
        with torch.no_grad():
            model.transformers_model.embeddings.LayerNorm.weight.mul_(1e6)  # Beyond float16, well within float32.
        return model

    model, precision = load_fastest(load, _try("float16"))

    assert precision.name == FULL
    assert not precision.cosines["float16"] >= LOWEST_COSINE
    assert str(model.dtype) == "torch.float32"


def test_a_slower_precision_is_not_chosen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([2.0, 1.0])
    monkeypatch.setattr(half_precision, "LOWEST_COSINE", 0.0)
    monkeypatch.setattr(half_precision, "_tokens_per_second", lambda _: next(rates))
    model, precision = load_fastest(lambda: _loading(folder), _try("bfloat16"))

    assert (str(model.dtype), precision.name) == ("torch.float32", FULL)
    assert precision.rates == {FULL: 2.0, "bfloat16": 1.0}


def test_a_model_that_is_stored_in_half_precision_stays_so(folder: Path) -> None:
    import torch

    model, precision = load_fastest(lambda: _loading(folder).to(dtype=torch.bfloat16), _try("float16"))

    assert (str(model.dtype), precision.name) == ("torch.bfloat16", "bfloat16")
    assert not precision.rates
