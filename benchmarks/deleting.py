"""Documents deleted under a query loop, while the index answers with 404s, timeouts and lost answers.

Every search that begins after a deletion was acknowledged must be without the document, in every arm; in the end every
receipt is complete, and the audit finds nothing that it would have to remove.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faulty_index import FaultyIndex
from benchmarks.filling import MODEL, WORDS, fill, open_catalogue
from core.blobs import DirectoryBlobs
from core.db import receipts
from core.db.index_audits import Counts, get_audit, request_audit
from core.db.purging import delete_document
from core.db.session import Database
from core.domain import EVERYONE, Principal
from core.ids import DEFAULT_TENANT, DocumentId, IndexId
from core.intake import Intake
from core.observability import configure_logging
from ingestion.auditing import Auditor
from ingestion.indexing import IndexLoop
from retrieval.catalogue import DatabaseCatalogue
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.index.edge import EdgeIndex
from retrieval.search import HybridSearch, Stage
from retrieval.sparse import Bm25Encoder

INDEX = IndexId("deleting")
STAGES: tuple[Stage, ...] = ("dense", "bm25", "hybrid")
READER = Principal(tenant=DEFAULT_TENANT, closure=frozenset({"user:filler", EVERYONE}), user="filler", role="reader")
PATIENCE_SECONDS = 900.0  # Physical removal takes at most a quarter of an hour.


@dataclass
class Seen:
    """What the query loop found: searches, and hits of documents whose deletion had been acknowledged before."""

    searches: int = 0
    ghosts: int = 0
    seconds: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deleting", description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000, help="how many are deleted")
    parser.add_argument("--kept", type=int, default=200, help="how many stay, for the queries to find")
    parser.add_argument("--chunks", type=int, default=10, help="passages of each")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rate", type=float, default=0.2, help="fraction of the index's calls that fail")
    parser.add_argument(
        "--fault-seconds", type=float, default=30.0, help="how long they go on failing after the last deletion"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    configure_logging("error")  # Every injected fault is a warning.
    with tempfile.TemporaryDirectory(prefix="footnote-deleting-") as folder:
        found = measure(Path(folder), **vars(given))
    json.dump({"benchmark": "deleting", **found}, sys.stdout)
    sys.stdout.write("\n")


def measure(
    folder: Path, *, documents: int, kept: int, chunks: int, dim: int, rate: float, seed: int, fault_seconds: float
) -> dict[str, Any]:
    """Return what was found, after filling `folder` with a catalogue and an index of its own."""
    database = open_catalogue(folder, INDEX)
    blobs = DirectoryBlobs(folder / "blobs")
    index = FaultyIndex(EdgeIndex(folder / "index", index_id=INDEX, dim=dim), rate=rate, seed=seed)
    embedder, sparse = HashingEmbedder(dim), Bm25Encoder()
    auditor = Auditor(
        database=database,
        index=index,
        index_id=INDEX,
        embedder_id=MODEL,
        has_file=blobs.has,
        owner="deleting",
        hour=24,
        due_seconds=0.1,
    )
    loop = IndexLoop(
        database=database,
        collect=lambda: 0,
        index=index,
        sparse=sparse,
        embedder_id=MODEL,
        owner="deleting",
        index_id=INDEX,
        audit=auditor.step,
    )
    ids = fill(database, blobs, loop, documents=documents + kept, chunks=chunks, dim=dim, allow=["user:filler"])
    doomed = [ids[place] for place in np.random.default_rng(seed).permutation(len(ids))[:documents]]
    search = HybridSearch(embedder=embedder, sparse=sparse, index=index, catalogue=DatabaseCatalogue(database))
    gone: set[DocumentId] = set()
    loop.start()
    index.failing.set()
    begun = time.monotonic()
    try:
        with _queries(search, gone) as seen:
            for document in doomed:
                with database.transaction() as session:
                    delete_document(session, DEFAULT_TENANT, document, "user:filler")
                gone.add(document)  # Acknowledged.
                loop.wake()
            deleted = time.monotonic() - begun
            time.sleep(fault_seconds)
            index.failing.clear()
            _wait(lambda: _confirmed(database, doomed, but="blobs") == len(doomed))
            purged = time.monotonic() - begun
        Intake(database=database, blobs=blobs, max_bytes=1).collect(older_than=0.0)
        counts = _audited(database)
    finally:
        loop.stop()
    orphans = sum(stored.document in gone for stored in index.stored())
    found = {
        "documents": documents,
        "chunks": chunks * len(ids),
        "faults": index.faults,
        "searches": seen.searches,
        "hits_after_acknowledgement": seen.ghosts,
        "removed_by_the_audit": counts.points_removed,
        "refilled_by_the_audit": counts.documents_refilled,
        "orphans": orphans,
        "receipts_complete": _confirmed(database, doomed),
        "seconds_deleting": round(deleted, 2),
        "seconds_until_purged": round(purged, 2),
        "search_ms": {f"p{q}": round(1_000 * float(np.percentile(seen.seconds, q)), 1) for q in (50, 95)},
    }
    index.close()
    database.close()
    return found


@contextmanager
def _queries(search: HybridSearch, gone: set[DocumentId]) -> Iterator[Seen]:
    """Search in a thread of its own, arm by arm, until the block ends."""
    seen, over = Seen(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            word = WORDS[seen.searches % len(WORDS)]
            before = frozenset(gone)
            started = time.perf_counter()
            result = search.search(word, principal=READER, limit=50, stage=STAGES[seen.searches % len(STAGES)])
            seen.seconds.append(time.perf_counter() - started)
            seen.ghosts += sum(hit.chunk.document in before for hit in result.hits)
            seen.searches += 1

    thread = threading.Thread(target=ask, name="queries")
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _confirmed(database: Database, documents: Sequence[DocumentId], *, but: str | None = None) -> int:
    """Return how many of the documents every store has confirmed, all but one if that is named."""
    with database.reading() as session:
        found = [receipts.receipt(session, DEFAULT_TENANT, document) for document in documents]
    return sum(all(store.confirmed_at is not None for store in one.stores if store.store != but) for one in found)


def _audited(database: Database) -> Counts:
    with database.transaction() as session:
        asked = request_audit(session)

    def done() -> bool:
        with database.reading() as session:
            found = get_audit(session, asked.id)
        return found is not None and found.finished_at is not None

    _wait(done)
    with database.reading() as session:
        found = get_audit(session, asked.id)
    if found is None:
        raise AssertionError("an audit that was done is not there")
    return found.counts


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            sys.exit(f"not done within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
