"""Changes that an index still has to make: a new access payload, or points that must go.

A task is written in the transaction of its cause and stays until the index has done it. Claiming one hides it for a
while instead of leasing it: every task may run twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Select, and_, bindparam, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.matching import with_keys
from core.db.signs import TASKS, note
from core.db.tables import DocumentRow, IndexTaskRow, StageRow
from core.ids import DocumentId, TenantId, VersionId, uuid7

TaskKind = Literal["access", "purge_version", "purge_document"]
MOST_DROPPED_BATCHES = (
    16  # That one claim goes through where all in them is pointless: the writer's lock is held for it.
)
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
    session: Session,
    *,
    limit: int,
    lease_seconds: float,
    kinds: Collection[TaskKind] = EVERY_KIND,
    after: str = "",
) -> list[IndexTask]:
    """Return up to `limit` tasks of these kinds that are due, and hide them from others for `lease_seconds`.

    Of every tenant some, from the one that follows the tenant `after` on: so a folder's change over 100,000 documents
    holds up nobody else's right by more than a batch. Access comes first: a right that was given should show at once
    (one that was revoked does so without the index). Tasks that are pointless by now are dropped: access of a deleted
    document; points of a version that has become current after all, or is being indexed again.
    """
    moment = now(session)
    for _ in range(MOST_DROPPED_BATCHES):
        found = _looked_at(session, moment, kinds, after=after, limit=limit)
        if not found:
            return []
        dropped = _drop_pointless(session, [(row.tenant, row.id) for row in found])
        rows = sorted((row for row in found if row.id not in dropped), key=lambda row: row.kind)  # "access" sorts first
        if rows:
            break
    else:
        return []  # Whoever asks again goes on with what is left.
    session.execute(
        update(IndexTaskRow)
        .where(with_keys(IndexTaskRow, [(row.tenant, row.id) for row in rows]))
        .values(attempt=IndexTaskRow.attempt + 1, ready_at=moment + round(lease_seconds * SECOND))
        .execution_options(synchronize_session=False)
    )
    note(session, TASKS, TenantId(rows[0].tenant))
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


def last_served(tasks: Collection[IndexTask], after: str) -> str:
    """Return the tenant after whom the next claim goes on, where this one went on after `after`; "" without tasks."""
    tenants = {task.tenant for task in tasks}
    return max({tenant for tenant in tenants if tenant <= after} or tenants, default="")


def _looked_at(session: Session, moment: int, kinds: Collection[TaskKind], *, after: str, limit: int) -> Sequence[Any]:
    """Return up to `limit` tasks that are due, of every tenant some, and lock them."""
    tenants = _tenants_due(session, moment, kinds, after=after, most=limit)
    rows: list[Any] = []
    for place, tenant in enumerate(tenants):
        share = -(-(limit - len(rows)) // (len(tenants) - place))
        rows += session.execute(
            _claimable_statement(), {"tenant": tenant, "moment": moment, "kinds": list(kinds), "most": share}
        )
    return rows


def _tenants_due(session: Session, moment: int, kinds: Collection[TaskKind], *, after: str, most: int) -> list[str]:
    """Return up to `most` tenants of whom something is due, in order, round from the one that follows `after`."""
    found: list[str] = []
    place, turned = after, not after
    while len(found) < most:
        given = {"after": place, "moment": moment, "kinds": list(kinds)}
        following = session.execute(_next_tenant_statement(), given).scalar_one_or_none()
        if following is not None and not (turned and after and following > after):
            found.append(following)
            place = following
        elif turned:
            break
        else:
            place, turned = "", True
    return found


@cache
def _next_tenant_statement() -> Select[str]:
    return (
        select(IndexTaskRow.tenant)
        .where(_is_due(), IndexTaskRow.tenant > bindparam("after"))
        .order_by(IndexTaskRow.tenant)
        .limit(1)
    )


@cache
def _claimable_statement() -> Select[str, UUID, str, UUID, UUID | None, int, int]:
    return (
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
        .where(_is_due(), IndexTaskRow.tenant == bindparam("tenant"))
        .order_by(IndexTaskRow.kind, IndexTaskRow.ready_at, IndexTaskRow.id)
        .limit(bindparam("most", type_=BigInteger))
        .with_for_update(of=IndexTaskRow, skip_locked=True)
    )


def _is_due() -> ColumnElement[bool]:
    kinds = IndexTaskRow.kind.in_(bindparam("kinds", expanding=True))
    return and_(IndexTaskRow.done_at.is_(None), IndexTaskRow.ready_at <= bindparam("moment"), kinds)


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
    return session.execute(_due_statement(), {"moment": now(session), "kinds": list(kinds)}).scalar_one()


@cache  # Built once: it is asked for each document and ten times a second.
def _due_statement() -> Select[bool]:
    return select(exists().where(_is_due()))


def open_tasks(session: Session, tenant: TenantId, documents: Sequence[DocumentId]) -> int:
    """Return how many changes of these documents the indexes have yet to make."""
    rows = session.execute(
        select(IndexTaskRow.id).where(
            IndexTaskRow.tenant == tenant, IndexTaskRow.document_id.in_(documents), IndexTaskRow.done_at.is_(None)
        )
    )
    return len(rows.all())


def _drop_pointless(session: Session, keys: Collection[tuple[str, UUID]]) -> frozenset[UUID]:
    """Remove those of these tasks that are pointless; return their ids."""
    document = and_(DocumentRow.tenant == IndexTaskRow.tenant, DocumentRow.id == IndexTaskRow.document_id)
    deleted = exists().where(document, DocumentRow.deleted_at.is_not(None))
    current = exists().where(document, DocumentRow.current_version == IndexTaskRow.version_id)
    indexing = exists().where(
        StageRow.tenant == IndexTaskRow.tenant,
        StageRow.version_id == IndexTaskRow.version_id,
        StageRow.name == "index",
        StageRow.state.in_(("queued", "leased")),
    )
    dropped = session.scalars(
        delete(IndexTaskRow)
        .where(
            with_keys(IndexTaskRow, keys),
            or_(
                and_(IndexTaskRow.kind == "access", deleted),
                and_(IndexTaskRow.kind == "purge_version", ~deleted, or_(current, indexing)),
            ),
        )
        .returning(IndexTaskRow.id)
        .execution_options(synchronize_session=False)
    )
    return frozenset(dropped)
