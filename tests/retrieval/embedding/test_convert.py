"""Conversion for real: it needs torch and takes seconds."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import ModelUnavailable
from retrieval.embedding import convert as conversion
from retrieval.embedding.converted import find_converted
from retrieval.embedding.openvino import OpenVinoEmbedder
from tests.retrieval.tiny_models import save_tiny_sentence_model

pytestmark = pytest.mark.slow


def run(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"HOME": str(home), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers model of a few kilobytes, with prompts and pooling by the first token."""
    return save_tiny_sentence_model(tmp_path_factory.mktemp("models") / "tiny")


def test_processes_that_convert_at_once_all_get_the_one_model(tmp_path: Path, tiny_model: Path) -> None:
    command = ("-m", "retrieval.embedding.convert", str(tiny_model), "--cache", str(tmp_path / "cache"))
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: run(*command, home=tmp_path), range(2)))
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * 2
    assert done[0].stdout == done[1].stdout
    folder = Path(done[0].stdout.strip())
    assert sorted(path.name for path in folder.iterdir()) == ["meta.json", "model.bin", "model.xml", "tokenizer.json"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert not (tmp_path / "intel").exists(), "openvino-telemetry wrote into the home folder"
    again = run("-X", "importtime", *command, home=tmp_path)
    assert again.stdout == done[0].stdout
    imported = {line.split("|")[-1].strip() for line in again.stderr.split("\n")}
    assert not {"torch", "transformers", "openvino"} & imported


def test_pooling_limit_and_prompts_are_the_model_s_own(tmp_path: Path, tiny_model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    meta = conversion.convert(str(tiny_model), tmp_path).meta
    assert (meta.query_prompt, meta.max_tokens, meta.dim) == ("query: ", 32, 32)
    assert min(meta.cosine_f32, meta.cosine_best) >= 0.999
    ours = OpenVinoEmbedder(str(tiny_model), cache=tmp_path).embed_query("the plan pays")
    theirs = SentenceTransformer(str(tiny_model), device="cpu").encode(
        "the plan pays", prompt_name="query", normalize_embeddings=True
    )
    assert float(ours @ theirs) > 0.999


def test_a_model_that_comes_out_different_is_not_kept(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "LOWEST_COSINE", 1.1)
    with pytest.raises(ModelUnavailable, match="not the original"):
        conversion.convert(str(tiny_model), tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_model_that_is_not_here_ends_with_a_sentence(tmp_path: Path) -> None:
    done = run("-m", "retrieval.embedding.convert", "no/such-model", "--cache", str(tmp_path), home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not on this machine" in done.stderr


def test_serving_loads_neither_torch_nor_transformers_and_keeps_out_of_the_home_folder(tmp_path: Path) -> None:
    from core.settings import Settings

    cache = Settings().cache
    conversion.convert("all-MiniLM-L6-v2", cache)
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from retrieval.embedding.openvino import OpenVinoEmbedder\n"
        f"embedder = OpenVinoEmbedder('all-MiniLM-L6-v2', cache=Path({str(cache)!r}))\n"
        "embedder.embed_query('hello')\n"
        "names = ('torch', 'transformers', 'sentence_transformers', 'openvino_telemetry.main')\n"
        "print(json.dumps([name for name in names if name in sys.modules]))\n"
    )
    done = run("-c", program, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []
    assert list(tmp_path.iterdir()) == []


def test_the_default_model_is_the_one_that_serving_finds(tmp_path: Path) -> None:
    converted = conversion.convert(conversion.DEFAULT_MODEL, tmp_path)
    assert find_converted(tmp_path, conversion.DEFAULT_MODEL) == converted
    assert converted.meta.dim == 384
