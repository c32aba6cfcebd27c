"""What is open in the queue of record: how much, for the operator, and whether there is any."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from sqlalchemy import Select, bindparam, exists, func, select
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


def has_open(session: Session, names: Collection[StageName]) -> bool:
    """Return whether any of these stages is queued, perhaps for later, or leased: whether workers have a future."""
    given = {"names": list(names)}
    return any(session.execute(one, given).scalar_one() for one in _open_statements())


@cache
def _open_statements() -> tuple[Select[bool], ...]:
    # One by one, each the first entry of an index: with OR between them, PostgreSQL might read the table.
    wanted = StageRow.name.in_(bindparam("names", expanding=True))
    parts = (StageRow.state == LEASED, waits(suspects=False), waits(suspects=True))
    return tuple(select(exists().where(part, wanted)) for part in parts)
