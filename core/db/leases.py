"""The leases of claimed stages: held and renewed while the work goes on, given back, or taken from who is dead.

A claim holds as long as its stage is leased under the claimer's own fence, however late it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from core.db.claiming import ClaimedStage
from core.db.clock import SECOND, now
from core.db.matching import with_keys
from core.db.tables import StageRow
from core.db.turns import LEASED, LONG
from core.domain import StageName
from core.ids import StageId

_UNATTEMPTED: Mapping[str, Any] = {
    "state": "queued",
    "attempt": StageRow.attempt - 1,
    "lease_owner": None,
    "lease_until": None,
}


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


def renew(
    session: Session,
    claimed: Sequence[ClaimedStage],
    lease_seconds: float,
    progress: Mapping[StageId, float] | None = None,
) -> list[ClaimedStage]:
    """Hold the leases for so long from now (the heartbeat), and return the claims that still hold.

    `progress` tells of those stages that moved on since the last heartbeat which fraction of them is done.
    """
    kept = held(session, claimed)
    moment = now(session)
    _set(session, kept, lease_until=moment + round(lease_seconds * SECOND))
    moved = [
        {"tenant": stage.tenant, "id": stage.id, "progress": progress[stage.id], "progressed_at": moment}
        for stage in kept
        if progress and stage.id in progress
    ]
    if moved:
        session.execute(update(StageRow), moved)  # one statement, by primary key, for all of them
    return kept


def release(session: Session, claimed: Sequence[ClaimedStage]) -> None:
    """Give the stages back unattempted; claims that no longer hold are nobody's to give."""
    _set(session, held(session, claimed), **_UNATTEMPTED)


def set_aside(session: Session, claimed: Sequence[ClaimedStage]) -> None:
    """Give chunk stages of long documents back unattempted, to wait with their like, as old as they are.

    From now on nobody gets them who claims those that are not `long`: so a worker that has no place for another long
    document need not take it up again and again to find that out.
    """
    if any(stage.name is not StageName.CHUNK for stage in claimed):
        raise ValueError("only chunk stages have a lane for the long ones")
    _set(session, held(session, claimed), **_UNATTEMPTED, index_id=LONG)


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


def _set(session: Session, stages: Sequence[ClaimedStage], **values: object) -> None:
    if stages:
        session.execute(
            update(StageRow)
            .where(with_keys(StageRow, [(stage.tenant, stage.id) for stage in stages]))
            .values(**values)
            .execution_options(synchronize_session=False)
        )
