"""The real pipeline and the real model over a few files."""

import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from core.db.session import sqlite_url
from core.errors import InvalidInput
from core.settings import Settings
from footnote.bench.ingest import bench_ingest
from footnote.topology.servers import free_port
from retrieval.factory import build_embedder
from retrieval.ports import Tokenizer


@pytest.fixture
def tokenizer() -> Tokenizer:
    return build_embedder(Settings()).tokenizer


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.slow
def test_files_are_taken_in_and_compared_with_embedding_alone(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of the installation that the settings name is touched."""
    theirs, nobody = tmp_path / "theirs", free_port()
    monkeypatch.setenv("FOOTNOTE_DATABASE_URL", sqlite_url(theirs))
    monkeypatch.setenv("FOOTNOTE_BLOBS", str(theirs / "blobs"))
    monkeypatch.setenv("FOOTNOTE_BROKER_URL", f"redis://127.0.0.1:{nobody}/0")
    monkeypatch.setenv("FOOTNOTE_QDRANT_URL", f"http://127.0.0.1:{nobody}")
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.md").write_text(f"# Part {number}\n\nWhat part {number} says about leave and travel.")
    (folder / "same.md").write_text((folder / "0.md").read_text())
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")

    with capture_logs():
        report = bench_ingest([folder], settings=Settings(), tokenizer=tokenizer, peer=False, progress=lambda _: None)

    told = json.loads(json.dumps(report.as_dict()))
    assert (told["files"], told["failed"], told["left_out"], told["ratio_to_peer"]) == (7, 1, {}, None)
    assert 5 * 10 < report.tokens < 5 * 40  # Each distinct text once.
    assert report.pipeline_seconds > 0
    assert report.embed_seconds > 0
    assert report.parse_cpu_seconds > 0
    assert told["of_embed_only"] == pytest.approx(report.embed_seconds / report.pipeline_seconds, abs=0.001)
    but_parsing = report.pipeline_seconds - report.parse_cpu_seconds / report.processors
    assert told["of_embed_only_but_parsing"] == pytest.approx(report.embed_seconds / but_parsing, abs=0.001)
    assert list((tmp_path / "here").iterdir()) == []
    assert not theirs.exists()


def test_without_a_file_there_is_nothing_to_measure(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInput, match="no file"):
        bench_ingest([tmp_path / "here"], settings=Settings(), tokenizer=tokenizer, peer=False, progress=print)
