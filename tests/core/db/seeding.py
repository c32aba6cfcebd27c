"""Rows that tests of the catalogue begin with."""

from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from core.db import directory
from core.db.clock import now
from core.db.session import Database
from core.db.tables import DocumentRow, IndexTaskRow, SourceRow
from core.ids import DEFAULT_TENANT, DocumentId, TenantId, uuid7

TENANT = DEFAULT_TENANT
OTHER = TenantId("other")


def add_tenants(database: Database) -> None:
    with database.transaction() as session:
        directory.add_tenant(session, TENANT)
        directory.add_tenant(session, OTHER)


def add_source(session: Session, name: str = "/files", tenant: TenantId = TENANT) -> UUID:
    source = uuid7()
    session.execute(insert(SourceRow).values(tenant=tenant, id=source, name=name, created_at=now(session)))
    return source


def add_document(
    session: Session,
    source: UUID,
    name: str = "a.txt",
    *,
    uploader: str = "user:owner",
    parent: DocumentId | None = None,
    inherit: bool = True,
    tenant: TenantId = TENANT,
) -> DocumentId:
    document = DocumentId(uuid7())
    session.execute(
        insert(DocumentRow).values(
            tenant=tenant,
            id=document,
            source_id=source,
            name=name,
            folder=name.rpartition("/")[0],
            parent_id=parent,
            uploader=uploader,
            inherit=inherit,
            acl_revision=0,
            created_at=now(session),
        )
    )
    return document


def mark_deleted(session: Session, document: DocumentId) -> None:
    session.execute(update(DocumentRow).where(DocumentRow.id == document).values(deleted_at=now(session)))


def take_access_tasks(session: Session) -> list[DocumentId]:
    """The documents whose payload an index still has to write, each as often as it was asked for; and forget them."""
    rows = session.query(IndexTaskRow).filter(IndexTaskRow.kind == "access").all()
    documents = [DocumentId(row.document_id) for row in rows]
    for row in rows:
        session.delete(row)
    session.flush()
    return documents
