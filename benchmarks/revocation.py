"""How fast a right that is taken away is gone: at once for readers, within two seconds in the index's payload.

So many chunks with random unit vectors lie in Qdrant Edge while queries run. A document's right is revoked again and
again: the next search must be without it, and the time is taken until the index itself, asked without the catalogue,
no longer returns it. Then a group of many members changes, which must cost the index no write.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert

from benchmarks.filling import MODEL, WORDS, fill, open_catalogue
from core.blobs import DirectoryBlobs
from core.db import access, directory
from core.db.chunks import chunks_of, embeddings_of
from core.db.session import Database
from core.db.tables import MembershipRow, UserRow
from core.domain import Principal
from core.ids import DEFAULT_TENANT, DocumentId, IndexId, TenantId, VersionId
from core.observability import configure_logging
from ingestion.indexing import IndexLoop
from retrieval.catalogue import DatabaseCatalogue
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.index.edge import EdgeIndex
from retrieval.ports import IndexPoint, Vector
from retrieval.search import HybridSearch
from retrieval.sparse import Bm25Encoder

INDEX = IndexId("revocation")
GROUP = "group:readers"  # Its one member is a group of many members.
READER = "user:member-0"
LIMIT_SECONDS = 2.0
PATIENCE_SECONDS = 60.0


class CountingIndex(EdgeIndex):
    """The embedded engine; `writes` counts the calls of the port that change it."""

    def __init__(self, directory: Path, *, index_id: IndexId, dim: int) -> None:
        super().__init__(directory, index_id=index_id, dim=dim)
        self.writes: Counter[str] = Counter()

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        self.writes["upsert"] += 1
        super().upsert(points)

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        self.writes["set_access"] += 1
        super().set_access(tenant, document, allow=allow, deny=deny)

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        self.writes["delete"] += 1
        super().delete(tenant, document, version=version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.revocation", description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000, help="points in the index")
    parser.add_argument("--per-document", type=int, default=20, help="of which each document has so many")
    parser.add_argument("--revocations", type=int, default=300, help="how many are measured")
    parser.add_argument("--members", type=int, default=10_000, help="of the group that changes")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    configure_logging("error")
    with tempfile.TemporaryDirectory(prefix="footnote-revocation-") as folder:
        found = measure(Path(folder), **vars(given))
    json.dump({"benchmark": "revocation", **found}, sys.stdout)
    sys.stdout.write("\n")


def measure(
    folder: Path, *, chunks: int, per_document: int, revocations: int, members: int, dim: int, seed: int
) -> dict[str, Any]:
    """Return the figures, after filling `folder` with a catalogue and an index of its own."""
    database = open_catalogue(folder, INDEX)
    index = CountingIndex(folder / "index", index_id=INDEX, dim=dim)
    with database.transaction() as session:
        directory.add_group(session, DEFAULT_TENANT, "many")
        directory.add_group(session, DEFAULT_TENANT, "readers")
        directory.add_member(session, DEFAULT_TENANT, "readers", "group:many")
    sparse = Bm25Encoder()
    loop = IndexLoop(
        database=database,
        collect=lambda: 0,
        index=index,
        sparse=sparse,
        embedder_id=MODEL,
        owner="revocation",
        index_id=INDEX,
    )
    begun = time.monotonic()
    ids = fill(
        database,
        DirectoryBlobs(folder / "blobs"),
        loop,
        documents=max(1, chunks // per_document),
        chunks=per_document,
        dim=dim,
        allow=[GROUP],
    )
    filled = time.monotonic() - begun
    search = HybridSearch(
        embedder=HashingEmbedder(dim), sparse=sparse, index=index, catalogue=DatabaseCatalogue(database)
    )
    seconds_members = _add_members(database, members)
    index.writes.clear()
    loop.start()
    try:
        with _queries(search, _principal(database)) as asked:
            chosen = [ids[place] for place in np.random.default_rng(seed).permutation(len(ids))[:revocations]]
            taken = [_revoke(database, index, loop, document) for document in chosen]
        group = _change_group(database, index, search, members)
    finally:
        loop.stop()
    index.close()
    database.close()
    in_index = [one for one, _ in taken]
    return {
        "chunks": len(ids) * per_document,
        "documents": len(ids),
        "seconds_filling": round(filled, 1),
        "revocations": len(taken),
        "index_seconds": {f"p{q}": round(float(np.percentile(in_index, q)), 4) for q in (50, 99)},
        "index_seconds_max": round(max(in_index), 4),
        "within_limit": max(in_index) <= LIMIT_SECONDS,
        "seen_by_readers_after": sum(seen for _, seen in taken),
        "searches_meanwhile": len(asked),
        "search_ms": {f"p{q}": round(1_000 * float(np.percentile(np.array(asked), q)), 1) for q in (50, 95)}
        if asked
        else {},
        "seconds_adding_members": round(seconds_members, 2),
        **group,
    }


def _revoke(database: Database, index: CountingIndex, loop: IndexLoop, document: DocumentId) -> tuple[float, int]:
    """Deny the group on the document; return the seconds until the index alone obeys, and hits that readers still saw.

    Both are asked for with a vector of the document's own, for which it is the nearest there is.
    """
    vector = _vector(database, document)
    principal = _principal(database)
    if not _in_index(index, vector, principal, document):
        raise AssertionError("the document was not found before its right was taken away")
    with database.transaction() as session:
        access.change_document_access(session, DEFAULT_TENANT, document, deny=[GROUP])
    begun = time.perf_counter()
    loop.wake()
    catalogue = DatabaseCatalogue(database)
    seen = len(catalogue.current_versions([document], principal=principal))
    while _in_index(index, vector, principal, document):
        if time.perf_counter() - begun > PATIENCE_SECONDS:
            raise AssertionError("the index did not follow")
        time.sleep(0.002)
    return time.perf_counter() - begun, seen


def _change_group(database: Database, index: CountingIndex, search: HybridSearch, members: int) -> dict[str, Any]:
    """Take the group of so many out of those who read; return what that took, and cost the index."""
    time.sleep(1.0)  # What the revocations left to write is written.
    before = _principal(database)
    found = len(search.search(WORDS[0], principal=before, limit=10).hits)
    index.writes.clear()
    begun = time.perf_counter()
    with database.transaction() as session:
        directory.remove_member(session, DEFAULT_TENANT, "readers", "group:many")
    after = _principal(database)
    hits = len(search.search(WORDS[0], principal=after, limit=10).hits)
    taken = time.perf_counter() - begun
    time.sleep(1.0)  # Long enough for a write that should not come.
    return {
        "group_members": members,
        "group_change_seconds": round(taken, 4),
        "group_hits_before": found,
        "group_hits_after": hits,
        "group_index_writes": index.writes.total(),
    }


def _add_members(database: Database, members: int) -> float:
    begun = time.monotonic()
    with database.transaction() as session:
        names = [f"member-{number}" for number in range(members)]
        common = {"tenant": DEFAULT_TENANT}
        users = [{**common, "name": name, "suspended": False, "created_at": 0} for name in names]
        session.execute(insert(UserRow), users)
        memberships = [{**common, "group_name": "many", "member": f"user:{name}"} for name in names]
        session.execute(insert(MembershipRow), memberships)
    return time.monotonic() - begun


def _principal(database: Database) -> Principal:
    with database.reading() as session:
        return directory.principal(session, DEFAULT_TENANT, READER.removeprefix("user:"), role="reader")


def _vector(database: Database, document: DocumentId) -> Vector:
    from core.db.documents import get  # noqa: PLC0415 - used once

    with database.reading() as session:
        version = get(session, DEFAULT_TENANT, document).current_version
        if version is None:
            raise AssertionError("a document that was filled in is not searchable")
        _, text_hash = chunks_of(session, DEFAULT_TENANT, version)[0]
        return embeddings_of(session, DEFAULT_TENANT, MODEL, [text_hash])[text_hash]


def _in_index(index: CountingIndex, vector: Vector, principal: Principal, document: DocumentId) -> bool:
    nearest = index.search_dense(vector, principal=principal, limit=5)
    return any(candidate.document == document for candidate in nearest)


@contextmanager
def _queries(search: HybridSearch, principal: Principal) -> Iterator[Collection[float]]:
    """Search in a thread of its own until the block ends; yields the seconds that each took."""
    taken: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            started = time.perf_counter()
            search.search(WORDS[len(taken) % len(WORDS)], principal=principal, limit=10)
            taken.append(time.perf_counter() - started)

    thread = threading.Thread(target=ask, name="queries")
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
