"""Changes that an index still has to make: a new access payload, or points that must go.

A task is written in the transaction of its cause and stays until the index has done it. Claiming one hides it for a
while instead of leasing it: every task may run twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.matching import with_keys
from core.db.tables import DocumentRow, IndexTaskRow, StageRow
from core.ids import DocumentId, TenantId, VersionId, uuid7

TaskKind = Literal["access", "purge_version", "purge_document"]
EVERY_KIND: tuple[TaskKind, ...] = get_args(TaskKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTask:
    """A change for the index. `acl_revision` is the document's when the task was claimed; `attempt` counts this one."""

    tenant: TenantId
    id: UUID
    kind: TaskKind
    document: DocumentId
    version: VersionId | None
    attempt: int
    acl_revision: int


def queue_task(
    session: Session, tenant: TenantId, kind: TaskKind, document: DocumentId, *, version: VersionId | None = None
) -> None:
    """Write down that the index has to make this change, in the transaction of its cause."""
    moment = now(session)
    session.add(
        IndexTaskRow(
            tenant=tenant,
            id=uuid7(),
            kind=kind,
            document_id=document,
            version_id=version,
            created_at=moment,
            ready_at=moment,
        )
    )
    session.flush()


def claim_tasks(
    session: Session, *, limit: int, lease_seconds: float, kinds: Collection[TaskKind] = EVERY_KIND
) -> list[IndexTask]:
    """Return up to `limit` tasks of these kinds that are due, and hide them from others for `lease_seconds`.

    Access comes first: a right that was given should show at once (one that was revoked does so without the index).
    Tasks that are pointless by now are dropped: access of a deleted document; points of a version that has become
    current after all, or is being indexed again.
    """
    moment = now(session)
    due = and_(IndexTaskRow.done_at.is_(None), IndexTaskRow.ready_at <= moment, IndexTaskRow.kind.in_(kinds))
    _drop_pointless(session)
    rows = session.execute(
        select(
            IndexTaskRow.tenant,
            IndexTaskRow.id,
            IndexTaskRow.kind,
            IndexTaskRow.document_id,
            IndexTaskRow.version_id,
            IndexTaskRow.attempt,
            DocumentRow.acl_revision,
        )
        .join(DocumentRow, and_(DocumentRow.tenant == IndexTaskRow.tenant, DocumentRow.id == IndexTaskRow.document_id))
        .where(due)
        .order_by(IndexTaskRow.kind, IndexTaskRow.ready_at, IndexTaskRow.id)  # "access" sorts first
        .limit(limit)
        .with_for_update(of=IndexTaskRow, skip_locked=True)
    ).all()
    if rows:
        session.execute(
            update(IndexTaskRow)
            .where(with_keys(IndexTaskRow, [(row.tenant, row.id) for row in rows]))
            .values(attempt=IndexTaskRow.attempt + 1, ready_at=moment + round(lease_seconds * SECOND))
            .execution_options(synchronize_session=False)
        )
    return [
        IndexTask(
            tenant=TenantId(row.tenant),
            id=row.id,
            kind=row.kind,
            document=DocumentId(row.document_id),
            version=None if row.version_id is None else VersionId(row.version_id),
            attempt=row.attempt + 1,
            acl_revision=row.acl_revision,
        )
        for row in rows
    ]


def finish_task(session: Session, task: IndexTask) -> bool:
    """Remove the task, which is done. False if access changed since it was claimed: then it is due again at once.

    So of two workers that wrote payloads for one document, the one that wrote the older state runs again.
    """
    ours = and_(IndexTaskRow.tenant == task.tenant, IndexTaskRow.id == task.id, IndexTaskRow.done_at.is_(None))
    revision = session.scalars(
        select(DocumentRow.acl_revision).where(DocumentRow.tenant == task.tenant, DocumentRow.id == task.document)
    ).one_or_none()
    done = task.kind != "access" or revision in {None, task.acl_revision}
    change = delete(IndexTaskRow) if done else update(IndexTaskRow).values(ready_at=now(session))
    session.execute(change.where(ours).execution_options(synchronize_session=False))
    return done


def postpone_task(session: Session, task: IndexTask, delay: float, detail: str | None = None) -> None:
    """Let the task be due again in `delay` seconds; `detail` says why it could not be done."""
    ours = and_(IndexTaskRow.tenant == task.tenant, IndexTaskRow.id == task.id, IndexTaskRow.done_at.is_(None))
    session.execute(
        update(IndexTaskRow)
        .where(ours)
        .values(ready_at=now(session) + round(delay * SECOND), detail=detail)
        .execution_options(synchronize_session=False)
    )


def reclaim_tasks(session: Session) -> int:
    """Make every open task that was claimed before due now, also those to be tried later; return how many.

    For the embedded mode alone: whoever holds the data directory's lock knows that nobody else works on one.
    """
    moment = now(session)
    claimed = and_(IndexTaskRow.done_at.is_(None), IndexTaskRow.attempt > 0, IndexTaskRow.ready_at > moment)
    done = session.execute(
        update(IndexTaskRow)
        .where(claimed)
        .values(ready_at=moment)
        .returning(IndexTaskRow.id)
        .execution_options(synchronize_session=False)
    )
    return len(done.all())


def has_due_task(session: Session, kinds: Collection[TaskKind] = EVERY_KIND) -> bool:
    """Return whether `claim_tasks` would look at something now."""
    due = and_(IndexTaskRow.done_at.is_(None), IndexTaskRow.ready_at <= now(session), IndexTaskRow.kind.in_(kinds))
    return session.execute(select(exists().where(due))).scalar_one()


def open_tasks(session: Session, tenant: TenantId, documents: Sequence[DocumentId]) -> int:
    """Return how many changes of these documents the indexes have yet to make."""
    rows = session.execute(
        select(IndexTaskRow.id).where(
            IndexTaskRow.tenant == tenant, IndexTaskRow.document_id.in_(documents), IndexTaskRow.done_at.is_(None)
        )
    )
    return len(rows.all())


def _drop_pointless(session: Session) -> None:
    document = and_(DocumentRow.tenant == IndexTaskRow.tenant, DocumentRow.id == IndexTaskRow.document_id)
    deleted = exists().where(document, DocumentRow.deleted_at.is_not(None))
    current = exists().where(document, DocumentRow.current_version == IndexTaskRow.version_id)
    indexing = exists().where(
        StageRow.tenant == IndexTaskRow.tenant,
        StageRow.version_id == IndexTaskRow.version_id,
        StageRow.name == "index",
        StageRow.state.in_(("queued", "leased")),
    )
    session.execute(
        delete(IndexTaskRow)
        .where(
            IndexTaskRow.done_at.is_(None),
            or_(
                and_(IndexTaskRow.kind == "access", deleted),
                and_(IndexTaskRow.kind == "purge_version", ~deleted, or_(current, indexing)),
            ),
        )
        .execution_options(synchronize_session=False)
    )
