"""The catalogue's word on candidates: read from its entries and rows, never from an index's payload."""

from collections.abc import Collection

from core.db.access import readable_versions
from core.db.chunks import load_chunks
from core.db.session import Database
from core.domain import Principal
from core.ids import ChunkId, DocumentId, VersionId
from retrieval.checking import CatalogueChunk


class DatabaseCatalogue:
    """`Catalogue` over the database; each call is a snapshot of its own, so it sees what was committed before it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def current_versions(
        self, documents: Collection[DocumentId], *, principal: Principal
    ) -> dict[DocumentId, VersionId]:
        """Return the current version of those documents that the principal may read; the others are left out."""
        if not principal.closure or not documents:
            return {}
        with self._database.reading() as session:
            return readable_versions(session, principal, documents)

    def chunks(self, chunks: Collection[ChunkId], *, principal: Principal) -> dict[ChunkId, CatalogueChunk]:
        """Return those chunks that belong to the current version of a document; the others are left out."""
        if not principal.closure or not chunks:
            return {}
        with self._database.reading() as session:
            records = load_chunks(session, principal.tenant, chunks)
        return {
            chunk: CatalogueChunk(chunk=record.chunk, name=record.name, title=record.title)
            for chunk, record in records.items()
            if record.current
        }
