"""The queue of record: who works on which stage, until when, and who comes next.

A stage is claimed by lease. Every claim raises its fence, and results commit only under the claimer's own fence, so
at most one worker's result counts however many believe that the stage is theirs. Leases are compared by the
database's clock alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import String, and_, case, column, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from core.db.base import UuidKey
from core.db.clock import SECOND, now
from core.db.matching import with_keys
from core.db.tables import DocumentRow, StageRow, TurnRow, VersionRow
from core.db.turns import (
    LEASED,
    SUSPECT_AFTER,
    Candidate,
    in_turn,
    is_ready,
    lanes,
    queued_in_turn,
    take_turns,
    waits,
)
from core.domain import StageName
from core.ids import DocumentId, IndexId, StageId, TenantId, VersionId


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
    first, but tenant by tenant in turn, so that nobody waits behind another tenant's archive: who was not served for
    longest is first. The cost grows with the tenants that have work, not with the rows that wait or are done. With
    `index_ids`, only index stages of these indexes (other stages are of no index). Two workers never get the same
    stage.

    `suspects` says whether to claim only stages that were attempted `SUSPECT_AFTER` times or more, only others, or
    (None) any. Suspects are to be claimed one at a time, by who has nothing else in hand: so whatever is attempted
    more often than that failed, or killed its worker, by itself.
    """
    moment = now(session)
    # Where several writers may be at it, more than wanted: others may be locking the first of them in this moment.
    one_writer = session.get_bind().dialect.name == "sqlite"
    fetched = limit if one_writer else 4 * limit
    wanted = lanes(session, names, index_ids, suspects=suspects)
    while True:
        candidates = _lapsed(session, names, moment, fetched, index_ids, suspects=suspects)
        for lane in wanted:
            candidates += queued_in_turn(session, lane, moment, fetched)
        order = {(one.tenant, one.id): one for one in in_turn(candidates)[:fetched]}
        rows = _locked(session, order, moment, None if one_writer else limit)
        if rows or not order or len(order) < fetched:
            break
        fetched *= 4  # However many claim at once: who finds all of them taken looks further.
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
    take_turns(session, [order[row.tenant, row.id] for row in rows], moment)
    versions = _versions(session, rows)
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
            blob_hash=versions[row.tenant, row.version_id].blob_hash,
            document_name=versions[row.tenant, row.version_id].document_name,
            media_type=versions[row.tenant, row.version_id].media_type,
            parsed_hash=versions[row.tenant, row.version_id].parsed_hash,
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
        .where(StageRow.state == LEASED)
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
        .where(StageRow.state == LEASED, StageRow.lease_owner == owner)
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
    moment = now(session)
    if _lapsed(session, names, moment, 1, index_ids, suspects=suspects):
        return True
    return any(is_ready(session, lane, moment) for lane in lanes(session, names, index_ids, suspects=suspects))


def has_open(session: Session, names: Collection[StageName]) -> bool:
    """Return whether any of these stages is queued, perhaps for later, or leased: whether workers have a future."""
    # One by one, each the first entry of an index: with OR between them, PostgreSQL might read the table.
    leased = exists().where(StageRow.state == LEASED, StageRow.name.in_(names))
    if session.execute(select(leased)).scalar_one():
        return True
    queued = (exists().where(waits(suspects=part), StageRow.name.in_(names)) for part in (False, True))
    return any(session.execute(select(one)).scalar_one() for one in queued)


def _lapsed(
    session: Session,
    names: Collection[StageName],
    moment: int,
    limit: int,
    index_ids: Collection[IndexId] | None,
    *,
    suspects: bool | None,
) -> list[Candidate]:
    """Return up to `limit` stages whose lease has lapsed: few, for no more are leased than workers have in hand."""
    statement = (
        select(StageRow.tenant, StageRow.id, StageRow.name, StageRow.ready_at, TurnRow.served_at)
        .outerjoin(TurnRow, and_(TurnRow.tenant == StageRow.tenant, TurnRow.name == StageRow.name))
        .where(StageRow.state == LEASED, StageRow.name.in_(names), StageRow.lease_until <= moment)
    )
    if index_ids is not None:
        statement = statement.where(StageRow.index_id.in_(("", *index_ids)))
    if suspects is not None:
        statement = statement.where(StageRow.attempt >= SUSPECT_AFTER if suspects else StageRow.attempt < SUSPECT_AFTER)
    rows = session.execute(statement.order_by(StageRow.lease_until, StageRow.id).limit(limit))
    return [
        Candidate(tenant=row.tenant, id=row.id, name=row.name, ready_at=row.ready_at, served_at=row.served_at)
        for row in rows
    ]


def _locked(session: Session, order: Mapping[tuple[str, UUID], Candidate], moment: int, limit: int | None) -> list[Any]:
    """Lock those of the stages that nobody else holds, in their order, no more than `limit`; and return them."""
    if not order:
        return []
    # Asked once more of what is locked now: somebody may have been quicker.
    still = or_(
        and_(StageRow.state == "queued", StageRow.ready_at <= moment),
        and_(StageRow.state == "leased", StageRow.lease_until <= moment),
    )
    statement = select(
        StageRow.tenant,
        StageRow.id,
        StageRow.name,
        StageRow.document_id,
        StageRow.version_id,
        StageRow.index_id,
        StageRow.fence,
        StageRow.attempt,
        StageRow.input_hash,
    ).where(still)
    if limit is None:
        places = {key: place for place, key in enumerate(order)}
        rows = session.execute(statement.where(with_keys(StageRow, order))).all()
        return sorted(rows, key=lambda row: places[row.tenant, row.id])
    # Joined to the keys, so that each is one step along the primary key whatever PostgreSQL believes of a tenant.
    wanted = (
        func.unnest(
            literal([tenant for tenant, _ in order], ARRAY(String)), literal([key for _, key in order], ARRAY(UuidKey))
        )
        .table_valued(column("tenant", String), column("id", UuidKey), with_ordinality="place", name="wanted")
        .render_derived()
    )
    locked = (
        statement.join(wanted, and_(wanted.c.tenant == StageRow.tenant, wanted.c.id == StageRow.id))
        .order_by(wanted.c.place)
        .limit(limit)  # The rest is left to those who claim at the same time.
        .with_for_update(of=StageRow, skip_locked=True)
    )
    return list(session.execute(locked))


def _versions(session: Session, rows: Sequence[Any]) -> dict[tuple[str, UUID], Any]:
    """Return what is known of the versions of these stages. They cannot go while their stages are locked."""
    found = session.execute(
        select(
            VersionRow.tenant,
            VersionRow.id,
            VersionRow.blob_hash,
            VersionRow.media_type,
            VersionRow.parsed_hash,
            DocumentRow.name.label("document_name"),
        )
        .join(DocumentRow, and_(DocumentRow.tenant == VersionRow.tenant, DocumentRow.id == VersionRow.document_id))
        .where(with_keys(VersionRow, {(row.tenant, row.version_id) for row in rows}))
    )
    return {(row.tenant, row.id): row for row in found}


def _set(session: Session, stages: Sequence[ClaimedStage], **values: object) -> None:
    if stages:
        session.execute(
            update(StageRow)
            .where(with_keys(StageRow, [(stage.tenant, stage.id) for stage in stages]))
            .values(**values)
            .execution_options(synchronize_session=False)
        )
