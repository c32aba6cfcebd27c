"""Speed through HTTP with the SciFact corpus loaded, memory when idle, and start-up: against the limits we set."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import FOOTNOTE, Served, data_set, served
from core.blobs import DirectoryBlobs
from core.db.session import Database, sqlite_url
from core.domain import EVERYONE, Principal
from core.ids import DEFAULT_TENANT
from core.intake import Intake, UploadRequest
from footnote.bench.beir import Collection, load
from footnote.streaming import events

QUERIES = 250  # Per figure, and others for each: what one has read must not be in memory for the next.
WARM = 20
IDLE_SECONDS = 60.0
OWNER = Principal(tenant=DEFAULT_TENANT, closure=frozenset({"user:owner", EVERYONE}), user="owner", role="admin")


def main() -> None:
    """Print the figures as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--data", type=Path, help="a data directory to keep; the corpus is loaded if it is not there")
    data = parser.parse_args().data
    collection = load(data_set("scifact_dev"))
    figures: dict[str, Any] = {"help_seconds": _fastest(lambda: _run("--help"))}
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        figures |= _serve(data.resolve(), collection)
    else:
        with tempfile.TemporaryDirectory(prefix="footnote-speed-") as folder:
            figures |= _serve(Path(folder), collection)
    json.dump(figures, sys.stdout, indent=1)


def _serve(data: Path, collection: Collection) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    queries = list(collection.queries.values())
    first, second, third = (queries[start : start + QUERIES] for start in range(0, 3 * QUERIES, QUERIES))
    with served(data) as server:
        figures["ready_seconds"] = round(server.ready_seconds, 2)
        figures["ingest_seconds"], figures["passages"] = load_corpus(server, collection.rows)
        figures["search_reranked_ms"] = percentiles(first, lambda query: search(server, query))
        figures["first_delta_ms"] = percentiles(second, lambda query: first_delta(server, query))
        time.sleep(IDLE_SECONDS)
        figures["idle_pss_mb"] = round(_pss(server.pid) / 1e6)
    with served(data, RERANKER="none") as server:
        figures["ready_again_seconds"] = round(server.ready_seconds, 2)
        figures["search_not_reranked_ms"] = percentiles(third, lambda query: search(server, query))
    return figures


def load_corpus(server: Served, rows: Sequence[Any]) -> tuple[float, int]:
    """Put the corpus in beside the server (the same use case as an upload) and wait until it is searchable."""
    started = time.monotonic()
    if totals(server) != {"searchable": len(rows)}:
        database = Database(sqlite_url(server.data))
        intake = Intake(database=database, blobs=DirectoryBlobs(server.data / "blobs"), max_bytes=10**9)
        for row in rows:
            request = UploadRequest(name=row.id, source="speed", allow=[EVERYONE])
            intake.upload(OWNER, request, row.as_html())
        database.close()
    while (states := totals(server)) != {"searchable": len(rows)}:
        if states.get("failed"):
            sys.exit(f"documents failed: {states}")
        time.sleep(0.5)
    return round(time.monotonic() - started, 1), _passages(server.data)


def totals(server: Served) -> dict[str, int]:
    """Return how many documents are in each state."""
    states: dict[str, int] = server.client.call("GET", "/v1/documents", params={"limit": 1})["totals"]
    return states


def _passages(data: Path) -> int:
    from sqlalchemy import func, select  # noqa: PLC0415 - used once

    from core.db.tables import ChunkRow  # noqa: PLC0415 - used once

    database = Database(sqlite_url(data))
    with database.reading() as session:
        count = session.execute(select(func.count()).select_from(ChunkRow)).scalar_one()
    database.close()
    return count


def percentiles(queries: Sequence[str], measure: Callable[[str], float]) -> dict[str, float]:
    """Return p50, p95 and p99 of what `measure` gives, in seconds, as milliseconds; the first queries warm up."""
    for query in queries[:WARM]:
        measure(query)
    taken = [measure(query) * 1000 for query in queries[WARM:]]
    return {name: round(float(np.percentile(taken, q)), 1) for name, q in (("p50", 50), ("p95", 95), ("p99", 99))}


def search(server: Served, query: str) -> float:
    """Return the seconds of one search."""
    started = time.perf_counter()
    server.client.call("POST", "/v1/search", json={"query": query, "limit": 10})
    return time.perf_counter() - started


def first_delta(server: Served, query: str) -> float:
    """Return the seconds until the first words of an answer, of all of it where it has none."""
    started = time.perf_counter()
    seconds = None
    for event in events(server.client, {"question": query}):
        if event.type == "delta" and seconds is None:
            seconds = time.perf_counter() - started
    return time.perf_counter() - started if seconds is None else seconds


def _fastest(run: Callable[[], None]) -> float:
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return round(sorted(taken)[len(taken) // 2], 3)


def _run(*arguments: str) -> None:
    subprocess.run([*FOOTNOTE, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own program


def _pss(pid: int) -> int:
    """Return the proportional set size of a process and all below it, in bytes."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        total += sum(_pss(int(child)) for child in task.read_text().split())
    return total


if __name__ == "__main__":
    main()
