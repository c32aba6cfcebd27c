"""Features made without the library are the library's own, or they are not used."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tokenizers import Tokenizer

from retrieval.embedding.tokenizer import HuggingFaceTokenizer
from tests.retrieval.tiny_models import save_tiny_sentence_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

pytestmark = pytest.mark.slow

TEXTS = ["the plan pays", "", "visits " * 60, "Märch; expires?", "leave"]


def _model(folder: Path) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    saved = save_tiny_sentence_model(folder / "tiny")
    return SentenceTransformer(str(saved), device="cpu", local_files_only=True)


def _tokenizer(model: "SentenceTransformer") -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer(Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str()))


@pytest.mark.parametrize("prompt", ["", "query: "])
def test_features_are_those_of_the_library(tmp_path: Path, prompt: str) -> None:
    import torch

    from retrieval.embedding.torch_inputs import TorchInputs

    model = _model(tmp_path)
    inputs = TorchInputs(model, _tokenizer(model))

    assert inputs.quick(prompt) is not None
    for rows, features in inputs.batches(TEXTS, prompt=prompt, budget=64, largest=2):
        expected = model.preprocess([TEXTS[row] for row in rows], prompt=prompt or None)
        assert features.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(features[name], value) if torch.is_tensor(value) else features[name] == value


def test_a_model_that_is_given_something_else_gets_the_librarys_own(tmp_path: Path) -> None:
    from retrieval.embedding.torch_batches import TorchBatches
    from retrieval.embedding.torch_inputs import TorchInputs

    model = _model(tmp_path)
    model.tokenizer.padding_side = "left"
    inputs = TorchInputs(model, _tokenizer(model))

    assert inputs.quick("") is None
    [(rows, features)] = inputs.batches(TEXTS, prompt="", budget=10_000, largest=32)
    assert features["attention_mask"][-1, 0] == 0, "padded on the left"
    expected = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    found = TorchBatches(model, _tokenizer(model)).vectors(TEXTS, prompt="")
    assert found == pytest.approx(np.asarray(expected), abs=1e-5)
    assert sorted(rows) == list(range(len(TEXTS)))
