"""Qdrant Edge, the engine inside the serving process. It holds the GIL: calls are short and `optimize()` is never made.

One process per shard directory (a lock file beside it). Statistics for BM25's IDF are counted over the asker's tenant
alone and over live points only, so neither another tenant's documents nor deleted ones move a score. Within a tenant
they do count documents that the asker may not read: a score can tell, at best, how rare a word is in the tenant.
"""

import fcntl
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from core.domain import Principal
from core.errors import DataDirectoryInUse, IndexUnavailable
from core.ids import ChunkId, DocumentId, IndexId, TenantId, VersionId, point_id
from retrieval.index.pages import points_of
from retrieval.index.payload import CARRIED, INDEXED, PLACE, payload_of, stored_points
from retrieval.index.ties import settle_ties
from retrieval.ports import Candidate, IndexPoint, SparseVector, StoredPage, StoredPoint, Vector

UPSERT_BATCH = 64  # 64 points hold the GIL for 2 ms (20 ms at worst): a question beside them does not notice.
SCAN_PAGE = 250  # An audit beside questions: a page holds the GIL for some 2 ms.

_DENSE = "dense"
_BM25 = "bm25"
_KEYS = list(PLACE)

# A search parses some 350, most of them seen before; parsing one anew takes 15 times as long as finding it here.
_uuid = lru_cache(maxsize=16_384)(UUID)


class EdgeIndex:
    """`VectorIndex` in a directory, made when it is missing. Safe for many threads of the one process that opens it.

    :raises DataDirectoryInUse: another process has the shard open.
    :raises IndexUnavailable: the shard cannot be read or written.
    """

    def __init__(self, directory: Path, *, index_id: IndexId, dim: int) -> None:
        self._directory = directory
        self._index_id = index_id
        config = edge.EdgeConfig(
            vectors={_DENSE: edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine)},
            sparse_vectors={_BM25: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
            # The engine's log would be synced at every batch, under the GIL; what our callers rely on is flush().
            # What was not flushed when the process is killed is not there when it starts again.
            wal_enabled=False,
        )
        self._lock = self._locked()
        try:
            with self._translated():
                if not directory.exists():
                    _create(directory, config)
                self._shard = edge.EdgeShard.load(str(directory), config)
        except BaseException:
            self._lock.close()
            raise

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Store the points, replacing those of the same chunk, in small batches."""
        for start in range(0, len(points), UPSERT_BATCH):
            batch = [self._stored(point) for point in points[start : start + UPSERT_BATCH]]
            self._update(edge.UpdateOperation.upsert_points(batch))

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        """Replace the access payload of all points of the document; vectors are not touched."""
        access = {"allow": list(allow), "deny": list(deny)}
        self._update(edge.UpdateOperation.set_payload_by_filter(_only(tenant, document), access))

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        """Remove the points of the document, or of that version only; removing nothing is no error."""
        self._update(edge.UpdateOperation.delete_points_by_filter(_only(tenant, document, version)))

    def delete_chunks(self, tenant: TenantId, document: DocumentId, chunks: Collection[ChunkId]) -> None:
        """Remove those points of the document that are of these chunks."""
        ours = [_is("tenant", tenant), _is("document", str(document))]
        chosen = edge.Filter(must=[*ours, _is_any("chunk", [str(chunk) for chunk in chunks])])
        self._update(edge.UpdateOperation.delete_points_by_filter(chosen))

    def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
        """Return the exact number of stored points of the version."""
        with self._translated():
            return self._shard.count(edge.CountRequest(exact=True, filter=_only(tenant, document, version)))

    def search_dense(
        self, vector: Vector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the nearest points by cosine that the principal may read, by exact search."""
        query = edge.Query.Nearest(np.asarray(vector, dtype=np.float32).tolist(), using=_DENSE)
        return self._search(query, edge.SearchParams(exact=True), principal=principal, limit=limit, exclude=exclude)

    def search_bm25(
        self, vector: SparseVector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the best points by BM25 that share a term and that the principal may read; IDF over their tenant."""
        if not vector.indices:
            return []
        query = edge.Query.Nearest(edge.SparseVector(list(vector.indices), list(vector.values)), using=_BM25)
        statistics = edge.IdfParams(corpus=edge.Filter(must=[_is("tenant", principal.tenant)]))
        params = edge.SearchParams(exact=True, idf=statistics)
        return self._search(query, params, principal=principal, limit=limit, exclude=exclude)

    def flush(self) -> None:
        """Return when everything upserted so far is on disk."""
        with self._translated():
            self._shard.flush()

    def stored_page(self, start: str | None = None, *, limit: int) -> StoredPage:
        """Return up to `limit` points from `start` on, in the order of point ids."""
        with self._translated():
            request = edge.ScrollRequest(offset=start, limit=limit, with_payload=list(CARRIED))
            records, offset = self._shard.scroll(request)
        points = stored_points(record.payload for record in records)
        return StoredPage(points=points, next=None if offset is None else str(offset))

    def stored(self) -> Iterator[StoredPoint]:
        """Yield every stored point, page by page in the order of point ids."""
        return points_of(lambda start: self.stored_page(start, limit=SCAN_PAGE))

    def close(self) -> None:
        """Flush and release the directory. Closing twice is no error; every other call after it is."""
        with self._translated():
            self._shard.close()
        self._lock.close()

    def _search(
        self,
        query: edge.Query,
        params: edge.SearchParams,
        *,
        principal: Principal,
        limit: int,
        exclude: Collection[DocumentId],
    ) -> list[Candidate]:
        if not principal.closure:
            return []
        readable = _readable_by(principal, exclude)

        def fetch(count: int) -> list[Candidate]:
            request = edge.QueryRequest(
                limit=count, query=query, filter=readable, params=params, with_payload=_KEYS[1:], with_vector=False
            )
            with self._translated():
                return [_candidate(point) for point in self._shard.query(request)]

        return settle_ties(fetch, limit=limit)

    def _stored(self, point: IndexPoint) -> edge.Point:
        return edge.Point(
            point_id(self._index_id, point.chunk),
            {
                _DENSE: np.asarray(point.dense, dtype=np.float32).tolist(),
                _BM25: edge.SparseVector(list(point.sparse.indices), list(point.sparse.values)),
            },
            payload_of(point),
        )

    def _update(self, operation: edge.UpdateOperation) -> None:
        with self._translated():
            self._shard.update(operation)

    def _locked(self) -> BinaryIO:
        """Take the shard for this process. The kernel gives it back when the process ends, however it ends."""
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        lock = self._directory.with_name(f"{self._directory.name}.lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise DataDirectoryInUse(
                f"Another process has the index {self._index_id} open. Stop it, or speak to it over HTTP."
            ) from error
        return lock

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # the engine raises no narrower type, and when it panics none below this one
            raise IndexUnavailable(f"The index {self._index_id} did not do what was asked of it.") from error


def _create(directory: Path, config: edge.EdgeConfig) -> None:
    """Make the shard under another name and rename it: a process killed meanwhile leaves no half-made index."""
    unfinished = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    shard = edge.EdgeShard.create(str(unfinished), config)
    for key in INDEXED:
        shard.update(edge.UpdateOperation.create_field_index(key, edge.PayloadSchemaType.Keyword))
    shard.flush()
    shard.close()
    unfinished.rename(directory)


def _is(key: str, value: str) -> edge.FieldCondition:
    return edge.FieldCondition(key, match=edge.MatchValue(value))


def _is_any(key: str, values: Collection[str]) -> edge.FieldCondition:
    return edge.FieldCondition(key, match=edge.MatchAny(sorted(values)))


def _only(tenant: TenantId, document: DocumentId, version: VersionId | None = None) -> edge.Filter:
    conditions: list[Any] = [_is("tenant", tenant), _is("document", str(document))]
    if version is not None:
        conditions.append(_is("version", str(version)))
    return edge.Filter(must=conditions)


def _readable_by(principal: Principal, exclude: Collection[DocumentId]) -> edge.Filter:
    denied: list[Any] = [_is_any("deny", principal.closure)]
    if exclude:
        denied.append(_is_any("document", [str(document) for document in exclude]))
    return edge.Filter(must=[_is("tenant", principal.tenant), _is_any("allow", principal.closure)], must_not=denied)


def _candidate(point: edge.ScoredPoint) -> Candidate:
    payload = point.payload or {}
    return Candidate(
        chunk=ChunkId(_uuid(payload["chunk"])),
        document=DocumentId(_uuid(payload["document"])),
        version=VersionId(_uuid(payload["version"])),
        score=point.score,
    )
