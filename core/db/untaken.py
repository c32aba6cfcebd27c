"""For how long work has been ready in a queue of which nobody takes any: the one sign of workers that are not there.

Workers that were killed while they had nothing in hand, were never started or end before they take anything leave no
lapsed lease. And the age of a stage tells nothing: it is as old as its document, however short a time ago the stage
before it was done. So what is asked is since when it could have been taken, and when anybody last took anything.

To be asked only of a queue in which nothing is in hand and nothing was done lately: all is read from partial indexes
and from a fixed number of rows, but a long queue is sorted once.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from core.db import signs
from core.db.clock import SECOND
from core.db.failures import FAILED
from core.db.matching import with_keys
from core.db.stages import NEXT
from core.db.tables import IndexTaskRow, StageRow
from core.db.turns import LONG_TURN, waits
from core.db.verdicts import UNTAKEN_SECONDS
from core.domain import StageName

HEAD = 32  # Of the oldest documents. In a queue of which nobody takes any they stay the same ones.
_BEFORE = {after: before for before, after in NEXT.items()}


def untaken_seconds(
    session: Session, names: Collection[StageName], moment: int, *, first_ready: int, tasks: bool
) -> float:
    """Return for how long something was ready in the queue of these stages without anybody taking anything of it.

    0 where that is no longer than may be: `first_ready` is the least `ready_at` in the queue, before which nothing was
    ready. With `tasks` the changes that an index has yet to make are of the queue too. What failed shows that somebody
    is there as well: it may have been in hand for long.
    """
    if moment - first_ready <= UNTAKEN_SECONDS * SECOND:
        return 0.0
    since = (_stages_ready(session, names, moment), _task_ready(session) if tasks else None)
    ready = min((one for one in since if one is not None), default=moment)
    turns = [*names, *([LONG_TURN] if StageName.CHUNK in names else []), *([signs.TASKS] if tasks else [])]
    alive = max(signs.last(session, turns) or 0, _last_failure(session, names) or 0)
    return max(0, moment - max(ready, alive)) / SECOND


def _stages_ready(session: Session, names: Iterable[StageName], moment: int) -> int | None:
    """Return since when one of the oldest stages that are ready has been; None: there is none."""
    keys = []
    for name in names:
        for suspects in (False, True):  # One by one, so that each reads its index and nothing else.
            head = select(StageRow.tenant, StageRow.id).where(
                waits(suspects=suspects), StageRow.name == name.value, StageRow.ready_at <= moment
            )
            keys += [(row.tenant, row.id) for row in session.execute(head.order_by(StageRow.ready_at).limit(HEAD))]
    before = aliased(StageRow)
    found: dict[object, int] = {}
    for name in names:
        of_version = and_(
            before.tenant == StageRow.tenant,
            before.version_id == StageRow.version_id,
            before.name == (_BEFORE[name].value if name in _BEFORE else ""),
        )
        rows = session.execute(
            select(StageRow.id, StageRow.ready_at, StageRow.progressed_at, before.finished_at)
            .outerjoin(before, of_version)
            .where(with_keys(StageRow, keys), StageRow.name == name.value)
        )
        for row in rows:
            since = max(row.ready_at, row.progressed_at or 0, row.finished_at or 0)
            found[row.id] = max(found.get(row.id, 0), since)
    return min(found.values(), default=None)


def _task_ready(session: Session) -> int | None:
    return session.execute(select(func.min(IndexTaskRow.ready_at)).where(IndexTaskRow.done_at.is_(None))).scalar_one()


def _last_failure(session: Session, names: Collection[StageName]) -> int | None:
    failed = select(func.max(StageRow.finished_at)).where(
        StageRow.state == FAILED,
        StageRow.tenant > "",  # every tenant: so SQLite sees its index
        StageRow.name.in_([name.value for name in names]),
    )
    return session.execute(failed).scalar_one()
