import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from core.db.session import sqlite_url
from core.errors import Unavailable
from core.settings import Settings
from footnote.bench.retrieval import STAGES, Report, bench_retrieval
from footnote.topology.servers import free_port

TOPICS = ("flamingos", "glaciers", "teapots", "violins", "volcanoes", "beehives", "sundials", "lanterns")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    """Settings with a small model."""
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FOOTNOTE_EMBEDDER", "hashing:64")
    monkeypatch.chdir(tmp_path)
    with capture_logs():
        yield Settings()


def write_collection(
    folder: Path, *, text: str = "All about {topic}: where {topic} come from and what they need."
) -> Path:
    folder.mkdir()
    rows = [{"_id": f"d{n}", "title": topic, "text": text.format(topic=topic)} for n, topic in enumerate(TOPICS)]
    queries = [{"_id": f"q{n}", "text": f"Where do {topic} come from?"} for n, topic in enumerate(TOPICS)]
    judged = [f"q{n}\td{n}\t1" for n in range(len(TOPICS))]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))
    return folder


@pytest.mark.slow
def test_every_stage_is_measured_over_the_real_pipeline(settings: Settings, tmp_path: Path) -> None:
    lines: list[str] = []

    report = bench_retrieval(write_collection(tmp_path / "beir"), settings, progress=lines.append)

    assert isinstance(report, Report)
    told = json.loads(json.dumps(report.as_dict()))
    assert set(told["stages"]) == set(told["timings_ms"]) == set(STAGES) == {"bm25", "dense", "hybrid", "reranked"}
    for stage in STAGES:
        assert set(told["stages"][stage]) == {"ndcg@10", "mrr@10", "recall@10", "recall@100"}
        assert told["stages"][stage] == {"ndcg@10": 1.0, "mrr@10": 1.0, "recall@10": 1.0, "recall@100": 1.0}
        assert 0 < told["timings_ms"][stage]["p50"] <= told["timings_ms"][stage]["p99"]
    assert (told["documents"], told["queries"]) == (len(TOPICS), len(TOPICS))
    assert any("8 documents in" in line for line in lines)
    assert not (tmp_path / ".footnote").exists()  # A throw-away directory, and gone.


@pytest.mark.slow
def test_nothing_of_the_installation_that_is_named_is_touched(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by this process nor by the worker child, which starts in the same folder and environment."""
    theirs = tmp_path / "theirs"
    nobody = free_port()
    monkeypatch.setenv("FOOTNOTE_DATABASE_URL", sqlite_url(theirs))
    monkeypatch.setenv("FOOTNOTE_BLOBS", str(theirs / "blobs"))
    (tmp_path / ".env").write_text(f"FOOTNOTE_BROKER_URL=redis://127.0.0.1:{nobody}/0\n")
    (tmp_path / "footnote.toml").write_text(
        f'qdrant_url = "http://127.0.0.1:{nobody}"\nqdrant_grpc_port = {nobody}\nqdrant_api_key = "theirs"\n'
    )
    named = Settings()
    assert None not in (named.database_url, named.blobs, named.broker_url, named.qdrant_url)
    assert named.embedder == settings.embedder

    report = bench_retrieval(write_collection(tmp_path / "beir"), named, progress=lambda _: None)

    assert report.documents == len(TOPICS)
    assert report.stages["dense"]["ndcg@10"] == 1.0
    assert not theirs.exists()
    assert not (tmp_path / ".footnote").exists()


@pytest.mark.slow
def test_a_corpus_that_is_not_wholly_searchable_is_not_measured(settings: Settings, tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "beir")
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('\n{"_id": "empty", "title": "", "text": ""}')

    with pytest.raises(Unavailable, match="1 documents of the corpus failed"):
        bench_retrieval(folder, settings, progress=lambda _: None)
