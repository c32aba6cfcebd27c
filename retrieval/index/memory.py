"""The exact reference: plain Python and numpy over every point. The engines must agree with it; tests use it too."""

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.domain import Principal
from core.ids import ChunkId, DocumentId, TenantId, VersionId
from retrieval.index.pages import points_of
from retrieval.ports import Candidate, IndexPoint, SparseVector, StoredPage, StoredPoint, Vector

SCAN_PAGE = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    point: IndexPoint
    unit: NDArray[np.float64]
    weights: dict[int, float]


class MemoryIndex:
    """`VectorIndex` in memory: exact, slow, and gone with the process. Safe for many threads."""

    def __init__(self) -> None:
        self._stored: dict[ChunkId, _Stored] = {}
        self._lock = threading.RLock()

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Store the points, replacing those of the same chunk."""
        with self._lock:
            for point in points:
                unit = _unit(point.dense)
                weights = dict(zip(point.sparse.indices, point.sparse.values, strict=True))
                self._stored[point.chunk] = _Stored(point=point, unit=unit, weights=weights)

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        """Replace the access payload of all points of the document."""
        with self._lock:
            for stored in self._of(tenant, document):
                point = replace(stored.point, allow=tuple(allow), deny=tuple(deny))
                self._stored[point.chunk] = replace(stored, point=point)

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        """Remove the points of the document, or of that version only."""
        with self._lock:
            for stored in self._of(tenant, document):
                if version is None or stored.point.version == version:
                    del self._stored[stored.point.chunk]

    def delete_chunks(self, tenant: TenantId, document: DocumentId, chunks: Collection[ChunkId]) -> None:
        """Remove those points of the document that are of these chunks."""
        with self._lock:
            for stored in self._of(tenant, document):
                if stored.point.chunk in chunks:
                    del self._stored[stored.point.chunk]

    def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
        """Return the number of stored points of the version."""
        with self._lock:
            return sum(stored.point.version == version for stored in self._of(tenant, document))

    def search_dense(
        self, vector: Vector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the nearest readable points by cosine, computed in double precision."""
        with self._lock:
            readable = self._readable(principal, exclude)
            if not readable:
                return []
            cosines = np.stack([stored.unit for stored in readable]) @ _unit(vector)
        # Rounded, because equal vectors may differ in their last bit by where they stand in the matrix.
        scores = dict(zip((stored.point.chunk for stored in readable), np.round(cosines, 9).tolist(), strict=True))
        return _best(readable, lambda stored: scores[stored.point.chunk], limit=limit)

    def search_bm25(
        self, vector: SparseVector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the best readable points that share a term: the sum over shared terms of weight x query weight x IDF.

        IDF is Qdrant's, `ln((N - n + 0.5) / (n + 0.5) + 1)`, over all stored points of the principal's tenant.
        """
        with self._lock:
            corpus = [stored.weights for stored in self._stored.values() if stored.point.tenant == principal.tenant]
            readable = self._readable(principal, exclude)
        query = {
            term: weight * _idf(len(corpus), sum(term in weights for weights in corpus))
            for term, weight in zip(vector.indices, vector.values, strict=True)
        }
        sharing = [stored for stored in readable if not query.keys().isdisjoint(stored.weights)]
        return _best(sharing, lambda stored: _dot(query, stored.weights), limit=limit)

    def flush(self) -> None:
        """Nothing is durable here."""

    def stored_page(self, start: str | None = None, *, limit: int) -> StoredPage:
        """Return up to `limit` points from `start` on, in the order of chunks."""
        with self._lock:
            points = [stored.point for stored in self._stored.values()]
        points = sorted((one for one in points if str(one.chunk) >= (start or "")), key=lambda one: str(one.chunk))
        told = tuple(
            StoredPoint(
                tenant=point.tenant,
                document=point.document,
                version=point.version,
                chunk=point.chunk,
                allow=point.allow,
                deny=point.deny,
            )
            for point in points[:limit]
        )
        return StoredPage(points=told, next=str(points[limit].chunk) if len(points) > limit else None)

    def stored(self) -> Iterator[StoredPoint]:
        """Yield every stored point."""
        return points_of(lambda start: self.stored_page(start, limit=SCAN_PAGE))

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._stored.clear()

    def _of(self, tenant: TenantId, document: DocumentId) -> list[_Stored]:
        return [
            stored
            for stored in self._stored.values()
            if stored.point.tenant == tenant and stored.point.document == document
        ]

    def _readable(self, principal: Principal, exclude: Collection[DocumentId]) -> list[_Stored]:
        excluded = frozenset(exclude)
        return [
            stored
            for stored in self._stored.values()
            if stored.point.tenant == principal.tenant
            and not principal.closure.isdisjoint(stored.point.allow)
            and principal.closure.isdisjoint(stored.point.deny)
            and stored.point.document not in excluded
        ]


def _best(stored: Sequence[_Stored], score: Callable[[_Stored], float], *, limit: int) -> list[Candidate]:
    candidates = [
        Candidate(chunk=item.point.chunk, document=item.point.document, version=item.point.version, score=score(item))
        for item in stored
    ]
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.chunk))[: max(limit, 0)]


def _idf(points: int, containing: int) -> float:
    return math.log((points - containing + 0.5) / (containing + 0.5) + 1)


def _dot(query: dict[int, float], weights: dict[int, float]) -> float:
    return math.fsum(value * weights[term] for term, value in query.items() if term in weights)


def _unit(vector: Vector) -> NDArray[np.float64]:
    exact = vector.astype(np.float64)
    length = float(np.linalg.norm(exact))
    return exact / length if length else exact
