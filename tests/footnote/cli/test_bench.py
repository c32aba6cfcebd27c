import json
import subprocess
from pathlib import Path

import click
import pytest

from tests.e2e.conftest import FOOTNOTE, clean_environment
from tests.footnote.bench.test_retrieval import write_collection
from tests.footnote.served import CommandLine


def test_a_folder_that_is_no_data_set_is_told(footnote: CommandLine, tmp_path: Path) -> None:
    done = footnote("bench", "retrieval", "--beir", str(tmp_path), "--json")

    assert done.code == 1
    assert done.json["error"]["code"] == "invalid_input"
    assert "corpus.jsonl" in done.json["error"]["detail"]


def test_a_data_set_must_be_named_and_be_there(footnote: CommandLine) -> None:
    assert footnote("bench", "retrieval").code == 2
    assert footnote("bench", "retrieval", "--beir", "nowhere").code == 2
    assert footnote("bench", "nonsense").code == 2


@pytest.mark.slow
def test_a_measurement_is_one_json_object_and_progress_is_elsewhere(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "beir")

    done = subprocess.run(
        [*FOOTNOTE, "bench", "retrieval", "--beir", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(FOOTNOTE_EMBEDDER="hashing:64"),
        cwd=tmp_path,
        timeout=280,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report["stages"]) == {"bm25", "dense", "hybrid", "reranked"}
    assert report["stages"]["reranked"]["recall@10"] == 1.0
    assert "documents searchable" in done.stderr or "documents in" in done.stderr


@pytest.mark.slow
def test_a_gpu_is_measured_only_where_there_is_one_or_another_device_is_named(footnote: CommandLine) -> None:
    import torch

    assert footnote("bench", "gpu", "--device", "abacus").code == 2
    assert footnote("bench", "gpu", "--shape", "round").code == 2
    if not torch.cuda.is_available():
        done = footnote("bench", "gpu", "--json")
        assert done.code == 1
        assert "no CUDA device" in done.json["error"]["detail"]
    report = footnote.json("bench", "gpu", "--device", "cpu", "--shape", "tiny", "--tokens", "3000", "--rounds", "1")
    assert set(report["utilization"]) == {"square", "own"}
    assert set(report["tokens_per_second"]) == {"ours", "sentence-transformers", "tokenizer"}


def test_the_shapes_and_devices_of_the_command_are_those_that_there_are() -> None:
    from footnote.bench.device import DEVICES
    from footnote.bench.shapes import SHAPES
    from footnote.cli.bench import gpu

    choices = {option.name: option.type.choices for option in gpu.params if isinstance(option.type, click.Choice)}
    assert {name: list(choice) for name, choice in choices.items()} == {"device": list(DEVICES), "shape": list(SHAPES)}
