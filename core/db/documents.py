"""Documents: what other parts ask of them. Their way in is told by `accepting`, the queue by `stages`."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from core.db.accepting import Accepted, Rights, Upload, accept, queue_failed
from core.db.purging import delete_document as delete
from core.db.statuses import (
    DocumentStatus,
    StatusPage,
    StatusReport,
    list_readable,
    list_statuses,
    readable_totals,
    report,
    status,
)
from core.db.tables import DocumentRow, SourceRow
from core.errors import NotFound
from core.ids import DocumentId, TenantId, VersionId

__all__ = [
    "Accepted",
    "Document",
    "DocumentStatus",
    "Rights",
    "StatusPage",
    "StatusReport",
    "Upload",
    "accept",
    "delete",
    "get",
    "list_readable",
    "list_statuses",
    "readable_totals",
    "report",
    "retry",
    "status",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document's own row. `source` is the source's name, `source_id` its id; `uploader` is a principal."""

    id: DocumentId
    tenant: TenantId
    source: str
    source_id: UUID
    name: str
    folder: str
    uploader: str
    parent: DocumentId | None
    inherit: bool
    acl_revision: int
    current_version: VersionId | None
    newest_version: VersionId | None
    deleted: bool


def get(session: Session, tenant: TenantId, document: DocumentId) -> Document:
    """Return the document, also a deleted one. It checks no access. Raises `NotFound`."""
    row = session.execute(
        select(DocumentRow, SourceRow.name)
        .join(SourceRow, and_(SourceRow.tenant == DocumentRow.tenant, SourceRow.id == DocumentRow.source_id))
        .where(DocumentRow.tenant == tenant, DocumentRow.id == document)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such document.")
    found, source = row
    return Document(
        id=DocumentId(found.id),
        tenant=tenant,
        source=source,
        source_id=found.source_id,
        name=found.name,
        folder=found.folder,
        uploader=found.uploader,
        parent=None if found.parent_id is None else DocumentId(found.parent_id),
        inherit=found.inherit,
        acl_revision=found.acl_revision,
        current_version=None if found.current_version is None else VersionId(found.current_version),
        newest_version=None if found.newest_version is None else VersionId(found.newest_version),
        deleted=found.deleted_at is not None,
    )


def retry(session: Session, tenant: TenantId, document: DocumentId) -> bool:
    """Queue what failed of the document's newest version again, with its attempts forgotten.

    Returns whether anything had failed. Raises `NotFound`.
    """
    row = session.execute(
        select(DocumentRow.newest_version)
        .where(DocumentRow.tenant == tenant, DocumentRow.id == document, DocumentRow.deleted_at.is_(None))
        .with_for_update()
    ).one_or_none()
    if row is None or row.newest_version is None:
        raise NotFound("There is no such document.")
    return queue_failed(session, tenant, VersionId(row.newest_version))
