"""A Qdrant server, or the client's own local mode. Filters and statistics as in `retrieval.index.edge`."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from core.domain import Principal
from core.errors import IndexUnavailable, InvalidInput
from core.ids import ChunkId, DocumentId, IndexId, TenantId, VersionId, point_id
from retrieval.index.payload import INDEXED, PLACE, payload_of, place_of
from retrieval.index.ties import settle_ties
from retrieval.ports import Candidate, IndexPoint, SparseVector, Vector

UPSERT_BATCH = 256
SCAN_PAGE = 1_000
ANSWER_SECONDS = 10  # Whoever asks hears of a server that has stalled after so long; nothing that we ask takes as much.

_DENSE = "dense"
_BM25 = "bm25"
_KEYS = list(PLACE)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class QdrantIndex:
    """`VectorIndex` in the collection `footnote_<index_id>`, made when it is missing. Owns the client and closes it.

    :raises IndexUnavailable: the server does not answer, or refuses.
    """

    def __init__(self, client: QdrantClient, *, index_id: IndexId, dim: int) -> None:
        self._client = client
        self._index_id = index_id
        self._collection = f"footnote_{index_id}"
        with self._translated():
            if not client.collection_exists(self._collection):
                self._create(dim)
            for key in INDEXED:  # every time: whoever made the collection may have been killed before this
                client.create_payload_index(
                    self._collection,
                    key,
                    field_schema=models.KeywordIndexParams(
                        type=models.KeywordIndexType.KEYWORD, is_tenant=key == "tenant"
                    ),
                    wait=True,
                )

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Store the points, replacing those of the same chunk."""
        for start in range(0, len(points), UPSERT_BATCH):
            batch = [self._stored(point) for point in points[start : start + UPSERT_BATCH]]
            with self._translated():
                self._client.upsert(self._collection, points=batch, wait=True)

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        """Replace the access payload of all points of the document; vectors are not touched."""
        access = {"allow": list(allow), "deny": list(deny)}
        with self._translated():
            self._client.set_payload(self._collection, payload=access, points=_only(tenant, document), wait=True)

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        """Remove the points of the document, or of that version only; removing nothing is no error."""
        selector = models.FilterSelector(filter=_only(tenant, document, version))
        with self._translated():
            self._client.delete(self._collection, points_selector=selector, wait=True)

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

    def scan(self) -> Iterator[tuple[TenantId, DocumentId, VersionId, ChunkId]]:
        """Yield every stored point."""
        offset: models.ExtendedPointId | None = None
        while True:
            with self._translated():
                records, offset = self._client.scroll(
                    self._collection, limit=SCAN_PAGE, offset=offset, with_payload=_KEYS, with_vectors=False
                )
            for record in records:
                yield place_of(record.payload or {})
            if offset is None:
                return

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

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

    def _create(self, dim: int) -> None:
        try:
            self._client.create_collection(
                self._collection,
                vectors_config={_DENSE: models.VectorParams(size=dim, distance=models.Distance.COSINE)},
                sparse_vectors_config={_BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except UnexpectedResponse as error:
            if error.status_code != HTTPStatus.CONFLICT:  # another process has just made it
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (ApiException, QdrantException) as error:
            raise IndexUnavailable(f"Qdrant did not do what was asked of {self._collection!r}.") from error


def connect(url: str, *, api_key: str | None, index_id: IndexId, dim: int) -> QdrantIndex:
    """Open, or make, the index on the server at this URL, a Qdrant server's or `footnote index`'s.

    :raises InvalidInput: this is no URL.
    :raises IndexUnavailable: the server does not answer within `ANSWER_SECONDS`, or refuses.
    """
    # As a header, and not as `api_key`: on plain HTTP, which is right on one machine, the client would warn about that.
    headers = {} if api_key is None else {"api-key": api_key}
    try:
        client = QdrantClient(
            url=url,
            headers=headers,
            timeout=ANSWER_SECONDS,
            check_compatibility=False,
            trust_env=urlsplit(url if "//" in url else f"//{url}").hostname not in _LOOPBACK,  # no proxy to ourselves
        )
    except ValueError as error:
        raise InvalidInput(f"FOOTNOTE_QDRANT_URL is {url!r}; it must be like http://127.0.0.1:6333.") from error
    try:
        return QdrantIndex(client, index_id=index_id, dim=dim)
    except BaseException:
        client.close()
        raise


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
