"""The queue of record: who works on which stage, until when, and who comes next.

A stage is claimed by lease. Every claim raises its fence, and results commit only under the claimer's own fence, so
at most one worker's result counts however many believe that the stage is theirs. Leases are compared by the
database's clock alone.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, case, exists, func, or_, select, true, update
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.matching import with_keys
from core.db.tables import DocumentRow, StageRow, TenantRow, VersionRow
from core.domain import StageName
from core.ids import DocumentId, IndexId, StageId, TenantId, VersionId

SUSPECT_AFTER = 3  # Attempts that may be somebody else's doing: whoever shares a batch with a poison dies of it too.


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedStage:
    """A stage that the holder may work on, with what the work needs to know.

    `attempt` counts this claim too: 1 at the first. `input_hash` is what the stage before put out; for parse, the hash
    of the blob. `media_type` and `parsed_hash` are None until parsing is done.
    """

    tenant: TenantId
    id: StageId
    name: StageName
    document: DocumentId
    version: VersionId
    index_id: IndexId
    fence: int
    attempt: int
    input_hash: str | None
    blob_hash: str
    document_name: str
    media_type: str | None
    parsed_hash: str | None


def claim(
    session: Session,
    names: Collection[StageName],
    *,
    owner: str,
    limit: int,
    lease_seconds: float,
    index_ids: Collection[IndexId] | None = None,
    suspects: bool | None = None,
) -> list[ClaimedStage]:
    """Lease up to `limit` stages of these names, and return them.

    Claimable is what is queued and ready, and what is leased to somebody whose lease has lapsed. Oldest document
    first, but tenant by tenant in turn, so that nobody waits behind another tenant's archive. With `index_ids`, only
    index stages of these indexes (other stages are of no index). Two workers never get the same stage.

    `suspects` says whether to claim only stages that were attempted `SUSPECT_AFTER` times or more, only others, or
    (None) any. Suspects are to be claimed one at a time, by who has nothing else in hand: so whatever is attempted
    more often than that failed, or killed its worker, by itself.
    """
    moment = now(session)
    wanted = _wanted(index_ids, suspects=suspects)
    # Where several writers may be at it, more than wanted: others may be locking the first of them in this moment.
    fetched = limit if session.get_bind().dialect.name == "sqlite" else 4 * limit
    order = {key: place for place, key in enumerate(_candidates(session, wanted, names, moment, fetched))}
    if not order:
        return []
    found = session.execute(
        select(
            StageRow.tenant,
            StageRow.id,
            StageRow.name,
            StageRow.state,
            StageRow.document_id,
            StageRow.version_id,
            StageRow.index_id,
            StageRow.fence,
            StageRow.attempt,
            StageRow.ready_at,
            StageRow.lease_until,
            StageRow.input_hash,
            VersionRow.blob_hash,
            DocumentRow.name.label("document_name"),
            VersionRow.media_type,
            VersionRow.parsed_hash,
        )
        .join(VersionRow, and_(VersionRow.tenant == StageRow.tenant, VersionRow.id == StageRow.version_id))
        .join(DocumentRow, and_(DocumentRow.tenant == StageRow.tenant, DocumentRow.id == StageRow.document_id))
        .where(with_keys(StageRow, order))
        .with_for_update(of=StageRow, skip_locked=True)
    ).all()
    # Asked once more of what is locked now: somebody may have been quicker.
    still = (
        row
        for row in found
        if (row.state == "queued" and row.ready_at <= moment) or (row.state == "leased" and row.lease_until <= moment)
    )
    rows = sorted(still, key=lambda row: order[row.tenant, row.id])[:limit]
    if not rows:
        return []
    session.execute(
        update(StageRow)
        .where(with_keys(StageRow, [(row.tenant, row.id) for row in rows]))
        .values(
            state="leased",
            fence=StageRow.fence + 1,
            attempt=StageRow.attempt + 1,
            lease_owner=owner,
            lease_until=moment + round(lease_seconds * SECOND),
            started_at=func.coalesce(StageRow.started_at, moment),
        )
        .execution_options(synchronize_session=False)
    )
    return [
        ClaimedStage(
            tenant=TenantId(row.tenant),
            id=StageId(row.id),
            name=StageName(row.name),
            document=DocumentId(row.document_id),
            version=VersionId(row.version_id),
            index_id=IndexId(row.index_id),
            fence=row.fence + 1,
            attempt=row.attempt + 1,
            input_hash=row.input_hash,
            blob_hash=row.blob_hash,
            document_name=row.document_name,
            media_type=row.media_type,
            parsed_hash=row.parsed_hash,
        )
        for row in rows
    ]


def held(session: Session, claimed: Sequence[ClaimedStage]) -> list[ClaimedStage]:
    """Return those of the claims that still hold, and lock their stages until the end of the transaction.

    A claim ends when the stage is taken over, given up or cancelled; a lease that lapsed unnoticed still holds.
    """
    if not claimed:
        return []
    rows = session.execute(
        select(StageRow.tenant, StageRow.id, StageRow.fence)
        .where(with_keys(StageRow, [(stage.tenant, stage.id) for stage in claimed]), StageRow.state == "leased")
        .order_by(StageRow.tenant, StageRow.id)
        .with_for_update()
    ).all()
    fences = {(row.tenant, row.id): row.fence for row in rows}
    return [stage for stage in claimed if fences.get((stage.tenant, stage.id)) == stage.fence]


def renew(session: Session, claimed: Sequence[ClaimedStage], lease_seconds: float) -> list[ClaimedStage]:
    """Hold the leases for so long from now (the heartbeat), and return the claims that still hold."""
    kept = held(session, claimed)
    _set(session, kept, lease_until=now(session) + round(lease_seconds * SECOND))
    return kept


def release(session: Session, claimed: Sequence[ClaimedStage]) -> None:
    """Give the stages back unattempted; claims that no longer hold are nobody's to give."""
    _set(
        session,
        held(session, claimed),
        state="queued",
        attempt=StageRow.attempt - 1,
        lease_owner=None,
        lease_until=None,
    )


def reclaim_all(session: Session) -> int:
    """Queue every leased stage again, and return how many there were. It counts as no attempt.

    For the embedded mode alone: whoever holds the data directory's lock knows that no other worker lives.
    """
    done = session.execute(
        update(StageRow)
        .where(StageRow.state == "leased")
        .values(
            state="queued",
            attempt=case((StageRow.attempt > 0, StageRow.attempt - 1), else_=0),
            lease_owner=None,
            lease_until=None,
        )
        .returning(StageRow.id)
        .execution_options(synchronize_session=False)
    )
    return len(done.all())


def reclaim_owned(session: Session, owner: str, *, counted: bool = True) -> int:
    """Queue again what a worker that is known to be dead held, and return how many stages that were.

    Each counts as an attempt: a stage that kills its worker must not be tried for ever. With `counted` False it does
    not, because the worker was told to end.
    """
    before = case((StageRow.attempt > 0, StageRow.attempt - 1), else_=0)
    done = session.execute(
        update(StageRow)
        .where(StageRow.state == "leased", StageRow.lease_owner == owner)
        .values(state="queued", attempt=StageRow.attempt if counted else before, lease_owner=None, lease_until=None)
        .returning(StageRow.id)
        .execution_options(synchronize_session=False)
    )
    return len(done.all())


def has_claimable(
    session: Session,
    names: Collection[StageName],
    *,
    index_ids: Collection[IndexId] | None = None,
    suspects: bool | None = None,
) -> bool:
    """Return whether `claim` would find something now."""
    wanted = and_(_claimable(names, now(session)), _wanted(index_ids, suspects=suspects))
    return session.execute(select(exists().where(wanted))).scalar_one()


def has_open(session: Session, names: Collection[StageName]) -> bool:
    """Return whether any of these stages is queued, perhaps for later, or leased: whether workers have a future."""
    open_ = and_(StageRow.name.in_(names), StageRow.state.in_(("queued", "leased")))
    return session.execute(select(exists().where(open_))).scalar_one()


def _claimable(names: Collection[StageName], moment: int) -> ColumnElement[bool]:
    return and_(
        StageRow.name.in_(names),
        or_(
            and_(StageRow.state == "queued", StageRow.ready_at <= moment),
            and_(StageRow.state == "leased", StageRow.lease_until <= moment),
        ),
    )


def _wanted(index_ids: Collection[IndexId] | None, *, suspects: bool | None) -> ColumnElement[bool]:
    ours = StageRow.index_id.in_(("", *index_ids)) if index_ids is not None else true()
    if suspects is None:
        return ours
    return and_(ours, StageRow.attempt >= SUSPECT_AFTER if suspects else StageRow.attempt < SUSPECT_AFTER)


def _candidates(
    session: Session,
    wanted: ColumnElement[bool],
    names: Collection[StageName],
    moment: int,
    limit: int,
) -> list[tuple[str, UUID]]:
    """Return the keys of stages that are claimable, in the order in which they should be claimed."""
    columns = (StageRow.tenant, StageRow.id, StageRow.ready_at)
    lapsed = select(*columns).where(
        StageRow.name.in_(names), StageRow.state == "leased", StageRow.lease_until <= moment, wanted
    )
    rows = list(session.execute(lapsed.order_by(StageRow.ready_at, StageRow.id).limit(limit)))
    for name in names:  # One by one, each a walk along the index that ends at the limit, however long the queue is.
        queued = select(*columns).where(
            StageRow.name == name, StageRow.state == "queued", StageRow.ready_at <= moment, wanted
        )
        rows += session.execute(queued.order_by(StageRow.ready_at, StageRow.id).limit(limit))
    tenants = session.scalars(select(TenantRow.id).limit(2)).all()
    if len(rows) < limit or len(tenants) == 1:
        rows.sort(key=lambda row: (row.ready_at, row.id))
        return [(row.tenant, row.id) for row in _in_turn(rows)[:limit]]
    # The oldest may all be of one tenant: then the whole queue is looked at.
    turn = func.row_number().over(partition_by=StageRow.tenant, order_by=(StageRow.ready_at, StageRow.id))
    queue = select(*columns, turn.label("turn")).where(_claimable(names, moment), wanted).subquery()
    fair = select(queue.c.tenant, queue.c.id).order_by(queue.c.turn, queue.c.ready_at, queue.c.id).limit(limit)
    return [(row.tenant, row.id) for row in session.execute(fair)]


def _in_turn(rows: Sequence[Row[str, UUID, int]]) -> list[Row[str, UUID, int]]:
    # Tenant by tenant, each in its own order: first everybody's first, then everybody's second.
    seen: Counter[str] = Counter()
    turns: list[tuple[int, int]] = []
    for place, row in enumerate(rows):
        turns.append((seen[row.tenant], place))
        seen[row.tenant] += 1
    return [rows[place] for _, place in sorted(turns)]


def _set(session: Session, stages: Sequence[ClaimedStage], **values: object) -> None:
    if stages:
        session.execute(
            update(StageRow)
            .where(with_keys(StageRow, [(stage.tenant, stage.id) for stage in stages]))
            .values(**values)
            .execution_options(synchronize_session=False)
        )
