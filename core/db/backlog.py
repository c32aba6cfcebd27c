"""What is open in the queue of record, for the operator."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.tables import StageRow
from core.domain import StageName


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much of one kind of stage is open in one state, and for how long the oldest has been there."""

    name: StageName
    state: str
    count: int
    oldest_seconds: float


def backlog(session: Session) -> list[Backlog]:
    """Return what is open, over all tenants, by stage and state: what a stuck system shows first."""
    moment = now(session)
    rows = session.execute(
        select(StageRow.name, StageRow.state, func.count(), func.min(StageRow.created_at))
        .where(StageRow.state.in_(("queued", "leased")))
        .group_by(StageRow.name, StageRow.state)
        .order_by(StageRow.name, StageRow.state)
    )
    return [
        Backlog(name=StageName(name), state=state, count=count, oldest_seconds=max(0, moment - oldest) / SECOND)
        for name, state, count, oldest in rows
    ]
