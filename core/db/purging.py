"""Deletion: denied at once, then purged from every store, with a receipt."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, select, update
from sqlalchemy.orm import Session

from core.db import audit
from core.db.answers import forget_document
from core.db.blobs import drop_references
from core.db.clock import now
from core.db.index_tasks import queue_task
from core.db.receipts import confirm, note_removed, open_receipt
from core.db.tables import (
    AccessEntryRow,
    ChunkRow,
    DocumentRow,
    EmbeddingRow,
    IndexTaskRow,
    StageRow,
    VersionRow,
)
from core.db.turns import OPEN
from core.errors import NotFound
from core.ids import DocumentId, TenantId, VersionId

BATCH = 500


def delete_document(session: Session, tenant: TenantId, document: DocumentId, actor: str) -> None:
    """Delete the document and, with it, the members of a container. Deleting it again changes nothing.

    From this transaction on nobody reads it, and workers that still hold stages of it lose them. The index task that
    is queued has the points removed; `purge_catalogue` does the rest. Raises `NotFound`.
    """
    row = session.execute(_locked(tenant, DocumentRow.id == document)).one_or_none()
    if row is None:
        raise NotFound("There is no such document.")
    level = [document] if row.deleted_at is None else []
    moment = now(session)
    while level:
        for one in level:
            _bury(session, tenant, one, moment)
            audit.record(session, tenant, actor, "document.delete", str(one))
        members = session.execute(
            _locked(tenant, and_(DocumentRow.parent_id.in_(level), DocumentRow.deleted_at.is_(None)))
        ).all()
        level = [DocumentId(member.id) for member in members]


def cancel_stages(session: Session, tenant: TenantId, versions: Sequence[VersionId]) -> None:
    """Cancel what is still to be done for these versions: whoever works on it loses the lease."""
    for start in range(0, len(versions), BATCH):
        session.execute(
            update(StageRow)
            .where(
                StageRow.tenant == tenant,
                StageRow.version_id.in_(versions[start : start + BATCH]),
                StageRow.state.in_(OPEN),
            )
            .values(state="cancelled", lease_owner=None, lease_until=None, finished_at=now(session))
            .execution_options(synchronize_session=False)
        )


def purge_catalogue(session: Session, tenant: TenantId, document: DocumentId) -> None:
    """Remove everything the catalogue holds of a deleted document, once no index holds a point of it any more.

    Texts, chunks, vectors that no other chunk of the tenant needs, stages, entries, its name and what answers said
    from it go; blobs lose their references and go when they are collected. What stays is the id, the tenant
    and the receipt. May run twice.
    """
    deleted = session.execute(_locked(tenant, DocumentRow.id == document)).one_or_none()
    if deleted is None or deleted.deleted_at is None:
        return
    rows = session.execute(
        select(VersionRow.id, VersionRow.blob_hash, VersionRow.parsed_hash).where(
            VersionRow.tenant == tenant, VersionRow.document_id == document
        )
    ).all()
    if not rows:  # It was purged before; the receipt tells of that time.
        return
    versions = [VersionId(row.id) for row in rows]
    chunks, vectors = _remove_chunks(session, tenant, versions)
    unneeded = drop_references(session, tenant, [hash_ for row in rows for hash_ in row[1:] if hash_])
    for start in range(0, len(versions), BATCH):  # No index leads from a document to its stages.
        session.execute(
            delete(StageRow)
            .where(StageRow.tenant == tenant, StageRow.version_id.in_(versions[start : start + BATCH]))
            .execution_options(synchronize_session=False)
        )
    for table in (AccessEntryRow, VersionRow):
        session.execute(
            delete(table)
            .where(table.tenant == tenant, table.document_id == document)
            .execution_options(synchronize_session=False)
        )
    session.execute(
        update(DocumentRow)
        .where(DocumentRow.tenant == tenant, DocumentRow.id == document)
        .values(name="", folder="", current_version=None, newest_version=None)
        .execution_options(synchronize_session=False)
    )
    confirm(session, tenant, document, "catalogue", chunks)
    confirm(session, tenant, document, "embeddings", vectors)
    confirm(session, tenant, document, "answers", forget_document(session, tenant, document))
    if unneeded:
        note_removed(session, tenant, document, "blobs", unneeded)
    else:
        confirm(session, tenant, document, "blobs", 0)


def purge_version(session: Session, tenant: TenantId, version: VersionId) -> None:
    """Remove the chunks of a version that a newer one has replaced, once the index holds no point of it any more.

    The version itself, its bytes and its text stay: stored citations are shown from them. The chunks of a version
    that was not replaced stay too, because it may be retried. May run twice.
    """
    newer = VersionRow.__table__.alias("newer")
    replaced = session.execute(
        select(
            exists().where(
                VersionRow.tenant == tenant,
                VersionRow.id == version,
                DocumentRow.tenant == tenant,
                DocumentRow.id == VersionRow.document_id,
                newer.c.tenant == tenant,
                newer.c.id == DocumentRow.current_version,
                newer.c.ordinal > VersionRow.ordinal,
            )
        )
    ).scalar_one()
    if replaced:
        _remove_chunks(session, tenant, [version])


def _locked(tenant: TenantId, condition: ColumnElement[bool]) -> Select[UUID, int | None]:
    return (
        select(DocumentRow.id, DocumentRow.deleted_at)
        .where(DocumentRow.tenant == tenant, condition)
        .order_by(DocumentRow.id)
        .with_for_update()
    )


def _bury(session: Session, tenant: TenantId, document: DocumentId, moment: int) -> None:
    session.execute(
        update(DocumentRow)
        .where(DocumentRow.tenant == tenant, DocumentRow.id == document)
        .values(deleted_at=moment)
        .execution_options(synchronize_session=False)
    )
    versions = session.scalars(
        select(VersionRow.id).where(VersionRow.tenant == tenant, VersionRow.document_id == document)
    ).all()
    cancel_stages(session, tenant, [VersionId(version) for version in versions])
    session.execute(  # Nobody writes payloads of what is about to go; of a large folder there may be very many.
        delete(IndexTaskRow)
        .where(IndexTaskRow.tenant == tenant, IndexTaskRow.document_id == document, IndexTaskRow.kind == "access")
        .execution_options(synchronize_session=False)
    )
    queue_task(session, tenant, "purge_document", document)
    open_receipt(session, tenant, document)


def _remove_chunks(session: Session, tenant: TenantId, versions: Sequence[VersionId]) -> tuple[int, int]:
    """Remove the versions' chunks and the vectors that only they needed; return how many of each."""
    ours = and_(ChunkRow.tenant == tenant, ChunkRow.version_id.in_(versions))
    hashes = session.scalars(select(ChunkRow.embedded_hash).where(ours).distinct()).all()
    count = session.execute(select(func.count()).select_from(ChunkRow).where(ours)).scalar_one()
    session.execute(delete(ChunkRow).where(ours).execution_options(synchronize_session=False))
    vectors = 0
    for model in _models(session, tenant):
        for start in range(0, len(hashes), BATCH):
            unneeded = and_(
                EmbeddingRow.tenant == tenant,
                EmbeddingRow.model == model,
                EmbeddingRow.text_hash.in_(hashes[start : start + BATCH]),
                ~exists().where(ChunkRow.tenant == tenant, ChunkRow.embedded_hash == EmbeddingRow.text_hash),
            )
            vectors += session.execute(select(func.count()).select_from(EmbeddingRow).where(unneeded)).scalar_one()
            session.execute(delete(EmbeddingRow).where(unneeded).execution_options(synchronize_session=False))
    return count, vectors


def _models(session: Session, tenant: TenantId) -> list[str]:
    # One step along the primary key per model: DISTINCT would read every key of the tenant.
    models: list[str] = []
    while True:
        after = select(func.min(EmbeddingRow.model)).where(EmbeddingRow.tenant == tenant)
        found = session.scalars(after.where(EmbeddingRow.model > models[-1]) if models else after).one()
        if found is None:
            return models
        models.append(found)
