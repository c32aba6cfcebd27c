"""What is open in the queue of record, for the operator."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.tables import StageRow
from core.db.turns import LEASED, waits
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
    # One by one, so that each reads the index of what is open, and never what is done.
    open_ = {
        "leased": [StageRow.state == LEASED],
        "queued": [waits(suspects=False), waits(suspects=True)],
    }
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for state, parts in open_.items():
        for part in parts:
            counted = select(StageRow.name, func.count(), func.min(StageRow.created_at)).where(part)
            for name, count, oldest in session.execute(counted.group_by(StageRow.name)):
                before = found.get((name, state), (0, oldest))
                found[name, state] = (before[0] + count, min(before[1], oldest))
    return [
        Backlog(name=StageName(name), state=state, count=count, oldest_seconds=max(0, moment - oldest) / SECOND)
        for (name, state), (count, oldest) in sorted(found.items())
    ]
