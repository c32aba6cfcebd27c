"""`footnote bench retrieval`: the real pipeline over a judged collection, in a throw-away data directory."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.db.statuses import readable_totals
from core.domain import EVERYONE, DocumentState, Principal
from core.errors import Unavailable
from core.ids import DEFAULT_TENANT
from core.intake import Intake, UploadRequest
from core.settings import Settings
from evaluation.ranking import mrr_at, ndcg_at, recall_at
from footnote.bench.beir import Collection, load
from footnote.bench.throwaway import thrown_away
from footnote.runtime import OWNER, Runtime, open_runtime
from retrieval.search import Stage

STAGES: tuple[Stage, ...] = ("bm25", "dense", "hybrid", "reranked")
DOCUMENTS = 100  # Distinct documents ranked per query and stage: recall@100 needs them.
FIRST_HITS = 300  # Chunks that nearly always hold so many documents.
MOST_HITS = 1_200
POLL_SECONDS = 3.0  # Counting costs the machine that the pipeline runs on.
UPLOADER = f"user:{OWNER}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Means over the queries per stage, and what one query took at the default limit, in milliseconds."""

    stages: Mapping[str, Mapping[str, float]]
    timings_ms: Mapping[str, Mapping[str, float]]
    documents: int
    queries: int
    ingest_seconds: float

    def as_dict(self) -> dict[str, object]:
        return {
            "stages": self.stages,
            "timings_ms": self.timings_ms,
            "documents": self.documents,
            "queries": self.queries,
            "ingest_seconds": self.ingest_seconds,
        }


def bench_retrieval(folder: Path, settings: Settings, *, progress: Callable[[str], None]) -> Report:
    """Ingest the corpus and rank every judged query with each stage.

    :raises InvalidInput: the folder holds no BEIR data set.
    :raises Unavailable: a document of the corpus could not be ingested.
    """
    collection = load(folder)
    with (
        tempfile.TemporaryDirectory(prefix="footnote-bench-") as data,
        open_runtime(thrown_away(settings, Path(data))) as runtime,
    ):
        started = time.monotonic()
        _ingest(runtime, collection, progress)
        seconds = time.monotonic() - started
        progress(f"{len(collection.rows)} documents in {seconds:.1f} s; ranking {len(collection.queries)} queries")
        stages: dict[str, dict[str, float]] = {stage: _score(runtime, collection, stage) for stage in STAGES}
        timings = _time(runtime, list(collection.queries.values()))
    return Report(
        stages=stages,
        timings_ms=timings,
        documents=len(collection.rows),
        queries=len(collection.queries),
        ingest_seconds=round(seconds, 1),
    )


def _ingest(runtime: Runtime, collection: Collection, progress: Callable[[str], None]) -> None:
    services = runtime.services
    intake = Intake(database=services.database, blobs=services.blobs, max_bytes=services.settings.max_upload_bytes)
    for row in collection.rows:
        intake.upload(_principal(), UploadRequest(name=row.id, source="bench"), row.as_html())
    services.wake()
    total = len(collection.rows)
    told = total
    while True:
        with services.database.reading() as session:
            totals = readable_totals(session, _principal())
        if failed := totals.get(DocumentState.FAILED, 0):
            raise Unavailable(f"{failed} documents of the corpus failed; the measurement would not be true.")
        left = total - totals.get(DocumentState.SEARCHABLE, 0)
        if not left:
            return
        if told - left >= total // 10:
            told = left
            progress(f"{total - left} of {total} documents searchable")
        time.sleep(POLL_SECONDS)


def _score(runtime: Runtime, collection: Collection, stage: Stage) -> dict[str, float]:
    principal = _principal()
    rankings = {query: _documents(runtime, text, principal, stage) for query, text in collection.queries.items()}
    judged = [(ranking, collection.relevant[query]) for query, ranking in rankings.items()]
    return {
        "ndcg@10": _mean([ndcg_at(ranking, relevant, 10) for ranking, relevant in judged]),
        "mrr@10": _mean([mrr_at(ranking, relevant, 10) for ranking, relevant in judged]),
        "recall@10": _mean([recall_at(ranking, relevant, 10) for ranking, relevant in judged]),
        "recall@100": _mean([recall_at(ranking, relevant, 100) for ranking, relevant in judged]),
    }


def _documents(runtime: Runtime, query: str, principal: Principal, stage: Stage) -> list[str]:
    """Return at least 100 distinct documents, each where its best chunk stands, or all that the stage finds."""
    limit = FIRST_HITS
    while True:
        hits = runtime.search.search(query, principal=principal, limit=limit, stage=stage).hits
        names = list(dict.fromkeys(hit.name for hit in hits))
        if len(names) >= DOCUMENTS or len(hits) < limit or limit >= MOST_HITS:
            return names
        limit *= 2


def _time(runtime: Runtime, queries: Sequence[str]) -> dict[str, dict[str, float]]:
    principal, limit = _principal(), 10
    taken: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for query in queries[:200]:
        for stage in STAGES:
            started = time.perf_counter()
            runtime.search.search(query, principal=principal, limit=limit, stage=stage)
            taken[stage].append((time.perf_counter() - started) * 1000)
    return {
        stage: {"p50": round(float(np.percentile(ms, 50)), 2), "p99": round(float(np.percentile(ms, 99)), 2)}
        for stage, ms in taken.items()
    }


def _principal() -> Principal:
    return Principal(tenant=DEFAULT_TENANT, closure=frozenset({UPLOADER, EVERYONE}), user=OWNER, role="admin")


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0
