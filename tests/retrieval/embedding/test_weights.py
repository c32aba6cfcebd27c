from pathlib import Path

import pytest

from core.errors import ModelUnavailable
from retrieval.embedding.weights import model_folder, short_name, weights_hash


def model(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, content in {"config.json": "{}", "model.safetensors": "weights", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def test_the_packaged_model_is_found_by_name() -> None:
    assert (model_folder("all-MiniLM-L6-v2") / "model.safetensors").is_file()
    assert model_folder("sentence-transformers/all-MiniLM-L6-v2") == model_folder("all-MiniLM-L6-v2")


def test_a_model_is_found_by_folder(tmp_path: Path) -> None:
    assert model_folder(str(model(tmp_path / "mine"))) == tmp_path / "mine"


def test_a_model_that_is_not_here_is_reported_and_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        model_folder("nobody/no-such-model")


def test_the_hash_follows_what_shapes_the_vectors_and_nothing_else(tmp_path: Path) -> None:
    plain = weights_hash(model(tmp_path / "a"))
    same = {"README.md": "x", "onnx/model.bin": "y", "pytorch_model.bin": "z"}
    assert plain == weights_hash(model(tmp_path / "b", **same))
    assert plain != weights_hash(model(tmp_path / "c", **{"model.safetensors": "others"}))
    assert plain != weights_hash(model(tmp_path / "d", **{"1_Pooling/config.json": '{"pooling_mode": "cls"}'}))


def test_a_short_name_is_fit_for_a_file() -> None:
    assert short_name("BAAI/bge-small-en-v1.5") == "bge-small-en-v1.5"
    assert short_name("/models/my model") == "my-model"
