"""A vector index that fails as one over a network does: refused, not found, or done with its answer lost."""

import random
import threading
import time
from collections.abc import Collection, Iterator, Sequence

from core.errors import IndexUnavailable
from core.ids import ChunkId, DocumentId, TenantId, VersionId
from retrieval.ports import IndexPoint, StoredPage, StoredPoint, VectorIndex

FAULTS = ("404", "timeout", "answer lost")


class FaultyIndex:
    """Passes writes on to `index`, and lets `rate` of them fail while `failing` is set; searches are left alone.

    `faults` counts what was injected. A timeout waits for `stall_seconds` first; it and a 404 do nothing.
    """

    def __init__(self, index: VectorIndex, *, rate: float, seed: int, stall_seconds: float = 0.2) -> None:
        self._index = index
        self._rate = rate
        self._dice = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._stall_seconds = stall_seconds
        self.failing = threading.Event()
        self.faults = dict.fromkeys(FAULTS, 0)
        self.search_dense = index.search_dense
        self.search_bm25 = index.search_bm25

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        lost = self._begin()
        self._index.upsert(points)
        self._end(lost=lost)

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        lost = self._begin()
        self._index.set_access(tenant, document, allow=allow, deny=deny)
        self._end(lost=lost)

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        lost = self._begin()
        self._index.delete(tenant, document, version=version)
        self._end(lost=lost)

    def delete_chunks(self, tenant: TenantId, document: DocumentId, chunks: Collection[ChunkId]) -> None:
        lost = self._begin()
        self._index.delete_chunks(tenant, document, chunks)
        self._end(lost=lost)

    def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
        self._begin()
        return self._index.count(tenant, document, version)

    def flush(self) -> None:
        lost = self._begin()
        self._index.flush()
        self._end(lost=lost)

    def stored_page(self, start: str | None = None, *, limit: int) -> StoredPage:
        return self._index.stored_page(start, limit=limit)

    def stored(self) -> Iterator[StoredPoint]:
        return self._index.stored()

    def close(self) -> None:
        self._index.close()

    def _begin(self) -> bool:
        """Fail, or return whether the answer is to be lost."""
        if not self.failing.is_set() or self._dice.random() >= self._rate:
            return False
        fault = self._dice.choice(FAULTS)
        self.faults[fault] += 1
        if fault == "answer lost":
            return True
        if fault == "timeout":
            time.sleep(self._stall_seconds)
        raise IndexUnavailable(f"injected: {fault}")

    def _end(self, *, lost: bool) -> None:
        if lost:
            raise IndexUnavailable("injected: answer lost")
