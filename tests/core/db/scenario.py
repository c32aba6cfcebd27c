"""A catalogue to tell stories about: tenants, uploads, and workers that do their stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from uuid import uuid4

from sqlalchemy.orm import Session

from core.db import documents, stages
from core.db.chunks import replace_chunks
from core.db.flipping import make_current
from core.db.releases import ensure_live_release
from core.db.session import Database
from core.db.stages import ClaimedStage, VersionFacts
from core.db.tenants import add_tenant
from core.domain import Chunk, Span, StageName
from core.ids import DocumentId, IndexId, TenantId, chunk_id

TENANT = TenantId("acme")
OTHER = TenantId("other")
INDEX = IndexId("index-1")
MODEL = "model"
ANYTHING = documents.Rights(see=lambda _: True, write=lambda _: True)
NOTHING = documents.Rights(see=lambda _: False, write=lambda _: False)


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Story:
    """One database, with what tests do again and again."""

    database: Database

    @classmethod
    def begin(cls, database: Database) -> "Story":
        with database.transaction() as session:
            add_tenant(session, TENANT)
            add_tenant(session, OTHER)
            ensure_live_release(session, INDEX, {"parser": "1"})
        return cls(database)

    def upload(
        self,
        name: str = "a.txt",
        content: str = "one",
        *,
        tenant: TenantId = TENANT,
        source: str | None = "files",
        uploader: str = "user:ann",
        parent: DocumentId | None = None,
        rights: documents.Rights = ANYTHING,
        allow: Sequence[str] = (),
    ) -> documents.Accepted:
        with self.database.transaction() as session:
            upload = documents.Upload(
                source=source,
                name=name,
                blob_hash=digest(content),
                size=len(content),
                uploader=uploader,
                parent=parent,
                allow=tuple(allow),
            )
            return documents.accept(session, tenant, upload, rights=rights)

    def status(self, document: DocumentId, tenant: TenantId = TENANT) -> documents.DocumentStatus:
        with self.database.reading() as session:
            return documents.status(session, tenant, [document])[0]

    def claim(self, *names: StageName, limit: int = 64, lease: float = 60.0) -> list[ClaimedStage]:
        with self.database.transaction() as session:
            return stages.claim(session, names or tuple(StageName), owner="worker", limit=limit, lease_seconds=lease)

    def do(self, claimed: ClaimedStage) -> bool:
        """Do the stage as a worker does; for an index stage, return whether the version is now current."""
        with self.database.transaction() as session:
            return perform(session, claimed)

    def finish_everything(self) -> None:
        while claimed := self.claim():
            for stage in claimed:
                self.do(stage)


def perform(session: Session, claimed: ClaimedStage) -> bool:
    if claimed.name is StageName.INDEX:
        return make_current(session, claimed)
    output = digest(f"{claimed.name} of {claimed.input_hash}")
    facts = VersionFacts()
    if claimed.name is StageName.PARSE:
        facts = VersionFacts(
            media_type="text/plain", title="Title", page_count=1, pages_lost=(), parsed_hash=output, parsed_size=7
        )
    stages.finish(session, claimed, output_hash=output, facts=facts)
    if claimed.name is StageName.CHUNK:
        chunks = some_chunks(claimed, 3)
        hashes = [digest(chunk.text) for chunk in chunks]
        replace_chunks(session, claimed.tenant, claimed.version, chunks, hashes)
    return False


def some_chunks(claimed: ClaimedStage, count: int) -> list[Chunk]:
    return [
        Chunk(
            id=chunk_id(claimed.tenant, claimed.document, claimed.version, "1", ordinal),
            tenant=claimed.tenant,
            document=claimed.document,
            version=claimed.version,
            ordinal=ordinal,
            span=Span(start=ordinal * 10, end=ordinal * 10 + 9),
            text=f"{claimed.blob_hash[:8]} {ordinal}",
            headings=("One", "Two"),
            page_first=1,
            page_last=2,
        )
        for ordinal in range(count)
    ]


def unknown_document() -> DocumentId:
    return DocumentId(uuid4())
