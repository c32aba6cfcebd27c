import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from core.errors import ModelUnavailable
from core.settings import Settings
from retrieval.embedding.converted import find_converted
from retrieval.embedding.openvino import OpenVinoEmbedder


def test_a_model_that_was_not_converted_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="make setup"):
        OpenVinoEmbedder("all-MiniLM-L6-v2", cache=tmp_path)


def test_nothing_is_loaded_for_the_id_the_size_and_the_tokenizer() -> None:
    program = (
        "import sys\n"
        "from core.settings import Settings\n"
        "from retrieval.factory import build_embedder\n"
        "embedder = build_embedder(Settings(), mode='throughput')\n"
        "assert embedder.id and embedder.dim and embedder.tokenizer.count(['word'])\n"
        "print([name for name in ('openvino', 'torch') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_a_converted_model_that_is_damaged_is_told_at_the_first_text(
    mode: Literal["latency", "throughput"], tmp_path: Path
) -> None:
    there = find_converted(Settings().cache, "all-MiniLM-L6-v2")
    damaged = tmp_path / "models" / there.folder.name
    shutil.copytree(there.folder, damaged)
    (damaged / "model.xml").write_bytes(there.graph.read_bytes()[:1_000])
    embedder = OpenVinoEmbedder("all-MiniLM-L6-v2", cache=tmp_path, mode=mode)
    for _ in range(2):
        with pytest.raises(ModelUnavailable, match="make setup"):
            embedder.embed_query("word")
