"""What retrieval asks of its adapters. Nothing is searched without a `Principal`; vendor types stop at the adapters."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from core.domain import Principal
from core.ids import ChunkId, DocumentId, TenantId, VersionId

Vector = NDArray[np.float32]
Arm = Literal["dense", "bm25"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseVector:
    """BM25 term weights: parallel, `indices` ascending and unique."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


class Tokenizer(Protocol):
    """The embedder's own tokenizer, so that a chunk's budget is counted in what the model really sees."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special tokens excluded."""
        ...

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return the half-open code-point range of every token of the text, in order; never truncated."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVectors:
    """Contextual token vectors of a text: `vectors` (tokens, dim) float32, rows of unit length; `spans` in the text."""

    vectors: NDArray[np.float32]
    spans: tuple[tuple[int, int], ...]


class Embedder(Protocol):
    """A bi-encoder. Vectors are float32, of unit length, finite, shape (dim,)."""

    @property
    def id(self) -> str:
        """Name and weights hash: two embedders with one id give the same vectors."""
        ...

    @property
    def precision(self) -> str:
        """What it computes with, and where, for people: it is no part of an index. Loads the model."""
        ...

    @property
    def dim(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Longest input in tokens, special tokens included; what is beyond is cut off by the model."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return shape (len(texts), dim); rows in the order of `texts`."""
        ...

    def embed_query(self, text: str) -> Vector: ...

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Return the token vectors of each text (special tokens left out), for late interaction."""
        ...


class SparseEncoder(Protocol):
    """Text to BM25 term weights; document and query weigh differently, the index supplies the IDF."""

    @property
    def id(self) -> str: ...

    def encode_document(self, text: str) -> SparseVector: ...

    def encode_query(self, text: str) -> SparseVector: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPoint:
    """What is stored for a chunk. `allow` and `deny` are the document's effective entries, users never expanded."""

    chunk: ChunkId
    tenant: TenantId
    document: DocumentId
    version: VersionId
    dense: Vector
    sparse: SparseVector
    allow: tuple[str, ...]
    deny: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPoint:
    """What an index says of a point when it is looked through: where it belongs, and the access that it carries."""

    tenant: TenantId
    document: DocumentId
    version: VersionId
    chunk: ChunkId
    allow: tuple[str, ...]
    deny: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPage:
    """Some points of an index, in its own order, and where the next page begins; None: there is none."""

    points: tuple[StoredPoint, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What an index returns: ids and a score, higher is better. The catalogue decides whether it may be shown."""

    chunk: ChunkId
    document: DocumentId
    version: VersionId
    score: float


class VectorIndex(Protocol):
    """One collection of points. Every search filters by tenant, allow and deny of the principal; ties by chunk id."""

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Store the points, replacing those of the same chunk. May run twice."""
        ...

    def set_access(self, tenant: TenantId, document: DocumentId, *, allow: Sequence[str], deny: Sequence[str]) -> None:
        """Replace the access payload of all points of the document; vectors are not touched."""
        ...

    def delete(self, tenant: TenantId, document: DocumentId, *, version: VersionId | None = None) -> None:
        """Remove the points of the document, or of that version only; removing nothing is no error."""
        ...

    def delete_chunks(self, tenant: TenantId, document: DocumentId, chunks: Collection[ChunkId]) -> None:
        """Remove those points of the document that are of these chunks, whatever version they carry."""
        ...

    def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
        """Return the exact number of stored points of the version (the read-back before a version goes live)."""
        ...

    def search_dense(
        self, vector: Vector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the nearest points by cosine that the principal may read; documents in `exclude` are left out."""
        ...

    def search_bm25(
        self, vector: SparseVector, *, principal: Principal, limit: int, exclude: Collection[DocumentId] = ()
    ) -> list[Candidate]:
        """Return the best points by BM25 (dot product with IDF) that share a term and that the principal may read."""
        ...

    def flush(self) -> None:
        """Return when everything upserted so far is durable."""
        ...

    def stored_page(self, start: str | None = None, *, limit: int) -> StoredPage:
        """Return up to `limit` points from `start` on, as they are now, for audits that go through all of them.

        `start` is the `next` of an earlier page, whose point need not be there any more; None: the beginning. Points
        that are written or removed between two pages may be missing or there; all others are in one of them, once.
        What somebody else has put into the collection is left out: a page may be empty and not the last.
        """
        ...

    def stored(self) -> Iterator[StoredPoint]:
        """Yield every stored point once, page by page."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What a reranker sees of a candidate."""

    chunk: ChunkId
    text: str
    header: str = ""


class Reranker(Protocol):
    """Scores passages for a query; higher is better, on a scale of its own."""

    @property
    def id(self) -> str: ...

    def score(self, query: str, passages: Sequence[Passage]) -> list[float | None]:
        """Return one score per passage, None for those beyond its budget (they keep their fused order)."""
        ...
