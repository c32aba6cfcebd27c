"""A Qdrant server, or the client's own local mode. Filters and statistics as in `retrieval.index.edge`."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from uuid import UUID

import numpy as np
from grpc import RpcError, StatusCode  # type: ignore[import-untyped]  # it ships no types
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from core.domain import Principal
from core.errors import IndexUnavailable
from core.ids import ChunkId, DocumentId, IndexId, TenantId, VersionId, point_id
from core.retry_after import asked_seconds
from retrieval.index.pages import points_of
from retrieval.index.payload import CARRIED, INDEXED, PLACE, payload_of, stored_points
from retrieval.index.ties import settle_ties
from retrieval.ports import Candidate, IndexPoint, SparseVector, StoredPage, StoredPoint, Vector

UPSERT_BATCH = 256
SCAN_PAGE = 1_000
PREFIX = "footnote"

_DENSE = "dense"
_BM25 = "bm25"
_KEYS = list(PLACE)


class QdrantIndex:
    """`VectorIndex` in the collection `<prefix>_<index_id>`, made when it is missing. Owns the clients and closes them.

    Whatever is written is written with the `writer`, which is more patient; without one with the client.

    All that is in the collection is taken for this installation's: another one on that server has another prefix.

    :raises IndexUnavailable: the server does not answer, or refuses.
    """

    def __init__(
        self,
        client: QdrantClient,
        *,
        index_id: IndexId,
        dim: int,
        prefix: str = PREFIX,
        writer: QdrantClient | None = None,
    ) -> None:
        self._client = client
        self._writer = writer or client
        self._index_id = index_id
        self._collection = f"{prefix}_{index_id}"
        self._dim = dim
        with self._translated():
            if not client.collection_exists(self._collection):
                self._create()
            self._index_payload()  # every time: whoever made the collection may have been killed before this

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Store the points, replacing those of the same chunk."""
        for start in range(0, len(points), UPSERT_BATCH):
            batch = [self._stored(point) for point in points[start : start + UPSERT_BATCH]]
            with self._translated():
                self._writer.upsert(self._collection, points=batch, wait=True)

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        """Replace the access payload of all points of the document; vectors are not touched."""
        access = {"allow": list(allow), "deny": list(deny)}
        with self._translated():
            self._writer.set_payload(self._collection, payload=access, points=_only(tenant, document), wait=True)

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        """Remove the points of the document, or of that version only; removing nothing is no error."""
        selector = models.FilterSelector(filter=_only(tenant, document, version))
        with self._translated():
            self._writer.delete(self._collection, points_selector=selector, wait=True)

    def delete_chunks(self, tenant: TenantId, document: DocumentId, chunks: Collection[ChunkId]) -> None:
        """Remove those points of the document that are of these chunks."""
        ours = [_is("tenant", tenant), _is("document", str(document))]
        chosen = models.Filter(must=[*ours, _is_any("chunk", [str(chunk) for chunk in chunks])])
        with self._translated():
            self._writer.delete(self._collection, points_selector=models.FilterSelector(filter=chosen), wait=True)

    def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
        """Return the exact number of stored points of the version."""
        only = _only(tenant, document, version)
        with self._translated():
            return self._client.count(self._collection, count_filter=only, exact=True).count

    def search_dense(
        self, vector: Vector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the nearest points by cosine that the principal may read, by exact search."""
        query = np.asarray(vector, dtype=np.float32).tolist()
        params = models.SearchParams(exact=True)
        return self._search(query, _DENSE, params, principal=principal, limit=limit, exclude=exclude)

    def search_bm25(
        self, vector: SparseVector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the best points by BM25 that share a term and that the principal may read; IDF over their tenant."""
        if not vector.indices:
            return []
        query = models.SparseVector(indices=list(vector.indices), values=list(vector.values))
        tenant = models.Filter(must=[_is("tenant", principal.tenant)])
        params = models.SearchParams(exact=True, idf=models.IdfCorpusParams(corpus=tenant))
        return self._search(query, _BM25, params, principal=principal, limit=limit, exclude=exclude)

    def flush(self) -> None:
        """Nothing to do: every write waits until the server has applied it, and the server logs it ahead."""

    def stored_page(self, start: str | None = None, *, limit: int) -> StoredPage:
        """Return up to `limit` points from `start` on, in the order of point ids.

        A collection that the server has lost is made anew, empty: who audits it sees what is missing and refills it.
        """
        with self._translated():
            if start is None and not self._client.collection_exists(self._collection):
                self._create()
                self._index_payload()
            records, offset = self._client.scroll(
                self._collection, limit=limit, offset=start, with_payload=list(CARRIED), with_vectors=False
            )
        points = stored_points(record.payload for record in records)
        return StoredPage(points=points, next=None if offset is None else str(offset))

    def stored(self) -> Iterator[StoredPoint]:
        """Yield every stored point, page by page in the order of point ids."""
        return points_of(lambda start: self.stored_page(start, limit=SCAN_PAGE))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._writer.close()

    def _search(
        self,
        query: list[float] | models.SparseVector,
        using: str,
        params: models.SearchParams,
        *,
        principal: Principal,
        limit: int,
        exclude: Collection[DocumentId],
    ) -> list[Candidate]:
        if not principal.closure:
            return []
        readable = _readable_by(principal, exclude)

        def fetch(count: int) -> list[Candidate]:
            with self._translated():
                response = self._client.query_points(
                    self._collection,
                    query=query,
                    using=using,
                    query_filter=readable,
                    search_params=params,
                    limit=count,
                    with_payload=_KEYS[1:],
                )
            return [_candidate(point) for point in response.points]

        return settle_ties(fetch, limit=limit)

    def _stored(self, point: IndexPoint) -> models.PointStruct:
        return models.PointStruct(
            id=str(point_id(self._index_id, point.chunk)),
            vector={
                _DENSE: np.asarray(point.dense, dtype=np.float32).tolist(),
                _BM25: models.SparseVector(indices=list(point.sparse.indices), values=list(point.sparse.values)),
            },
            payload=payload_of(point),
        )

    def _index_payload(self) -> None:
        for key in INDEXED:
            self._writer.create_payload_index(
                self._collection,
                key,
                field_schema=models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=key == "tenant"),
                wait=True,
            )

    def _create(self) -> None:
        try:
            self._writer.create_collection(
                self._collection,
                vectors_config={_DENSE: models.VectorParams(size=self._dim, distance=models.Distance.COSINE)},
                sparse_vectors_config={_BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except UnexpectedResponse as error:
            if error.status_code != HTTPStatus.CONFLICT:  # another process has just made it
                raise
        except RpcError as error:
            if error.code() != StatusCode.ALREADY_EXISTS:  # the same, over gRPC
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (ApiException, QdrantException, RpcError) as error:
            raise IndexUnavailable(
                f"Qdrant did not do what was asked of {self._collection!r}.", retry_after=_asked_to_wait(error)
            ) from error


def _asked_to_wait(error: Exception) -> float | None:
    """Return how many seconds a server, or a proxy before it, that is overloaded asks to be left alone."""
    if isinstance(error, ResourceExhaustedResponse):  # 429 with a number of seconds
        return float(error.retry_after_s)
    return asked_seconds(error.headers) if isinstance(error, UnexpectedResponse) else None


def _is(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _is_any(key: str, values: Collection[str]) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=sorted(values)))


def _only(tenant: TenantId, document: DocumentId, version: VersionId | None = None) -> models.Filter:
    conditions: list[models.Condition] = [_is("tenant", tenant), _is("document", str(document))]
    if version is not None:
        conditions.append(_is("version", str(version)))
    return models.Filter(must=conditions)


def _readable_by(principal: Principal, exclude: Collection[DocumentId]) -> models.Filter:
    denied: list[models.Condition] = [_is_any("deny", principal.closure)]
    if exclude:
        denied.append(_is_any("document", [str(document) for document in exclude]))
    return models.Filter(must=[_is("tenant", principal.tenant), _is_any("allow", principal.closure)], must_not=denied)


def _candidate(point: models.ScoredPoint) -> Candidate:
    payload = point.payload or {}
    return Candidate(
        chunk=ChunkId(UUID(payload["chunk"])),
        document=DocumentId(UUID(payload["document"])),
        version=VersionId(UUID(payload["version"])),
        score=point.score,
    )
