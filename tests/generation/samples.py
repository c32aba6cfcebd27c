"""Evidence, hits and documents that the tests of answering share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import insert, update

from core.db.base import db_now
from core.db.session import Database
from core.db.tables import AccessEntryRow, DocumentRow, SourceRow, TenantRow
from core.domain import Box, Chunk, Hit, Principal, Ranks, Span
from core.ids import ChunkId, DocumentId, TenantId, VersionId, uuid7
from generation.ports import Evidence, Place
from retrieval.search import SearchResult

TENANT = TenantId("default")
ALICE = Principal(tenant=TENANT, closure=frozenset({"user:alice", "*"}), user="alice")
BOB = Principal(tenant=TENANT, closure=frozenset({"user:bob", "*"}), user="bob")

PARKING = "Parking costs 40 euros a month.\nBicycles are free. Employees register\nthe car at the front desk."
HOLIDAY = "Employees have 28 days of holiday a year. Unused days expire on 31 March, and are not paid out."


def chunk_of(text: str, *, start: int = 0, ordinal: int = 0, page: int | None = 1, **ids: object) -> Chunk:
    return Chunk(
        id=ChunkId(uuid7()),
        tenant=TENANT,
        document=DocumentId(ids.get("document") or uuid7()),  # type: ignore[arg-type]  # ids come as they are
        version=VersionId(ids.get("version") or uuid7()),  # type: ignore[arg-type]  # the same
        ordinal=ordinal,
        span=Span(start=start, end=start + len(text)),
        text=text,
        page_first=page,
        page_last=page,
    )


def evidence_of(*texts: str, start: int = 0) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(n=n, chunk=chunk_of(text, start=start), name=f"file{n}.md", title=None, score=1 / n)
        for n, text in enumerate(texts, start=1)
    )


def hits_of(*chunks: Chunk) -> tuple[Hit, ...]:
    return tuple(
        Hit(chunk=chunk, score=1 / (rank + 1), ranks=Ranks(), name=f"file{rank + 1}.md", title=None)
        for rank, chunk in enumerate(chunks)
    )


@dataclass
class FixedSearch:
    """Finds the same for everybody who may read anything; notes what it was asked."""

    hits: Sequence[Hit]
    queries: list[str] = field(default_factory=list)

    def search(self, query: str, *, principal: Principal, limit: int) -> SearchResult:
        self.queries.append(query)
        found = tuple(self.hits)[:limit] if principal.closure else ()
        return SearchResult(hits=found, timings_ms={"total": 1.0}, counts={})


class FirstPage:
    """Everything stands on page 7, in one box."""

    def locate(self, tenant: TenantId, version: VersionId, span: Span) -> Place:  # noqa: ARG002 - the port's
        return Place(page=7, boxes=(Box(page=7, x0=0.1, y0=0.2, x1=0.9, y1=0.25),))


def add_tenant(database: Database, tenant: TenantId = TENANT) -> None:
    with database.transaction() as session:
        session.execute(insert(TenantRow).values(id=tenant, created_at=db_now()))


def add_document(database: Database, *, allow: Sequence[str] = ("*",)) -> DocumentId:
    """A document that these principals may read."""
    document, source = DocumentId(uuid7()), uuid7()
    with database.transaction() as session:
        session.execute(insert(SourceRow).values(tenant=TENANT, id=source, name=str(source), created_at=db_now()))
        session.execute(
            insert(DocumentRow).values(
                tenant=TENANT,
                id=document,
                source_id=source,
                name="file.md",
                folder="",
                uploader="user:owner",
                created_at=db_now(),
            )
        )
        for principal in allow:
            session.execute(
                insert(AccessEntryRow).values(
                    tenant=TENANT,
                    id=uuid7(),
                    document_id=document,
                    principal=principal,
                    effect="allow",
                    origin="manual",
                    created_at=db_now(),
                )
            )
    return document


def remove_document(database: Database, document: DocumentId) -> None:
    """Nobody may read it any more."""
    with database.transaction() as session:
        session.execute(update(DocumentRow).where(DocumentRow.id == document).values(deleted_at=db_now()))
