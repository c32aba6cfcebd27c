"""A catalogue in memory with the index that was made from it, and every way in which the two can come apart."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.domain import Chunk, Principal, Span
from core.ids import DEFAULT_TENANT, ChunkId, DocumentId, TenantId, VersionId
from retrieval.checking import CatalogueChunk
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.index.memory import MemoryIndex
from retrieval.ports import IndexPoint, Passage, Reranker, VectorIndex
from retrieval.search import HybridSearch
from retrieval.sparse import Bm25Encoder, bm25_text
from tests.retrieval.corpora import chunk, document, version

Payload = tuple[Sequence[str], Sequence[str]] | None

EMBEDDER = HashingEmbedder(64)
SPARSE = Bm25Encoder()


@dataclass(frozen=True, kw_only=True)
class Held:
    """A document of the catalogue, its truth."""

    id: DocumentId
    name: str
    current: VersionId
    chunks: tuple[Chunk, ...]
    allow: frozenset[str]
    deny: frozenset[str]
    tenant: TenantId = DEFAULT_TENANT
    number: int = 1  # of the current version


@dataclass
class Library:
    """`Catalogue` over a dict. `asked` lists the documents of each question, in order."""

    held: dict[DocumentId, Held] = field(default_factory=dict)
    index: VectorIndex = field(default_factory=MemoryIndex)
    asked: list[set[DocumentId]] = field(default_factory=list)

    def add(
        self,
        name: str,
        *texts: str,
        allow: Sequence[str] = ("*",),
        deny: Sequence[str] = (),
        payload: Payload = None,
        tenant: TenantId = DEFAULT_TENANT,
    ) -> DocumentId:
        """Add a document and its points; `payload` (allow, deny) is what the index believes instead of the truth."""
        made = Held(
            id=document(f"{tenant}/{name}"),
            name=name,
            current=version(f"{tenant}/{name}/1"),
            chunks=tuple(
                _chunk(tenant, name, version_name="1", ordinal=ordinal, text=text) for ordinal, text in enumerate(texts)
            ),
            allow=frozenset(allow),
            deny=frozenset(deny),
            tenant=tenant,
        )
        self.held[made.id] = made
        believed_allow, believed_deny = (allow, deny) if payload is None else payload
        self.index.upsert([_point(one, believed_allow, believed_deny) for one in made.chunks])
        return made.id

    def replace_version(self, name: str, *texts: str, tenant: TenantId = DEFAULT_TENANT) -> None:
        """Give the document a new current version; the points of the old one stay behind, as before a purge."""
        old = self.held[document(f"{tenant}/{name}")]
        number = str(old.number + 1)
        new = tuple(
            _chunk(tenant, name, version_name=number, ordinal=ordinal, text=text) for ordinal, text in enumerate(texts)
        )
        current = version(f"{tenant}/{name}/{number}")
        self.held[old.id] = replace(old, current=current, number=old.number + 1, chunks=new)
        self.index.upsert([_point(one, sorted(old.allow), sorted(old.deny)) for one in new])

    def forget_chunks(self, name: str, tenant: TenantId = DEFAULT_TENANT) -> None:
        """Drop the rows of the document's chunks, leaving orphaned points."""
        old = self.held[document(f"{tenant}/{name}")]
        self.held[old.id] = replace(old, chunks=())

    def current_versions(
        self, documents: Collection[DocumentId], *, principal: Principal
    ) -> Mapping[DocumentId, VersionId]:
        self.asked.append(set(documents))
        return {
            one: self.held[one].current for one in documents if one in self.held and may_read(self.held[one], principal)
        }

    def chunks(self, chunks: Collection[ChunkId], *, principal: Principal) -> Mapping[ChunkId, CatalogueChunk]:
        rows = {
            row.id: CatalogueChunk(chunk=row, name=held.name, title=f"Title of {held.name}")
            for held in self.held.values()
            for row in held.chunks
            if held.tenant == principal.tenant
        }
        return {one: rows[one] for one in chunks if one in rows}

    def searched_by(self, reranker: Reranker | None = None, *, index: VectorIndex | None = None) -> HybridSearch:
        """Return a search over this library."""
        return HybridSearch(
            embedder=EMBEDDER, sparse=SPARSE, index=index or self.index, catalogue=self, reranker=reranker
        )


@dataclass
class LengthReranker:
    """Prefers short passages; reads the first `budget`."""

    budget: int = 1_000
    id: str = "length"

    def score(self, query: str, passages: Sequence[Passage]) -> list[float | None]:
        assert query
        return [-float(len(one.text)) if place < self.budget else None for place, one in enumerate(passages)]


def may_read(held: Held, principal: Principal) -> bool:
    """The catalogue's rule in its own words."""
    same = held.tenant == principal.tenant
    return same and bool(held.allow & principal.closure) and not held.deny & principal.closure


def _chunk(tenant: TenantId, name: str, *, version_name: str, ordinal: int, text: str) -> Chunk:
    return Chunk(
        id=chunk(f"{tenant}/{name}/{version_name}/{ordinal}"),
        tenant=tenant,
        document=document(f"{tenant}/{name}"),
        version=version(f"{tenant}/{name}/{version_name}"),
        ordinal=ordinal,
        span=Span(start=0, end=len(text)),
        text=text,
    )


def _point(one: Chunk, allow: Sequence[str], deny: Sequence[str]) -> IndexPoint:
    return IndexPoint(
        chunk=one.id,
        tenant=one.tenant,
        document=one.document,
        version=one.version,
        dense=EMBEDDER.embed_documents([one.embedded_text])[0],
        sparse=SPARSE.encode_document(bm25_text(one)),
        allow=tuple(allow),
        deny=tuple(deny),
    )
