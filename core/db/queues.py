"""The queues as an operator sees them: how deep, how old, how fast, what failed of them, and a verdict.

Numbers over all tenants and nothing else: no name, no document, no text. What is asked of the database is bounded by
what is open, by what failed, and by a fixed number of rows of what is done; never by how much was ever done.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from sqlalchemy import ColumnElement, and_, case, func, literal_column, select
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.failures import OF_NEWEST, counts_as_failed
from core.db.tables import DocumentRow, IndexTaskRow, StageRow
from core.db.turns import LEASED, QUEUED, waits
from core.db.untaken import untaken_seconds
from core.db.verdicts import LATELY_SECONDS, PutOff, QueueFacts, Verdict, judge
from core.db.wakeups import QUEUES
from core.domain import Reason, StageName

RATE_SECONDS = 300.0  # The rate is what was done in this time.
SHORTEST_SECONDS = 15.0  # Several stages end in one moment: a rate over less time than this would be a guess.
MOST_COUNTED = 5_000  # Finished stages of one name that are looked at; where more are done, over less time.

# Spelled out, as in `core.db.turns`: a partial index is used only where the database sees its predicate.
_DONE: ColumnElement[str] = literal_column("'done'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Documents that failed and were neither retried nor replaced, by the stage and the reason."""

    stage: StageName
    reason: Reason
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """One queue over all tenants, now. Counts are stages, and in `index` also changes that the index has yet to make.

    `ready` may be claimed now, `postponed` later, `leased` is being worked on, `lapsed` was by somebody who is gone.
    `oldest_seconds`: since the document of the oldest of them came in. `finished` ended in the last five minutes;
    `rate_per_minute` is None when nothing did, and so is then `eta_seconds`, the time until what is in the queue now
    is done. `progress`: the mean fraction done of what is leased, None where no worker tells.
    """

    queue: str
    verdict: Verdict
    detail: str
    ready: int
    postponed: int
    leased: int
    lapsed: int
    oldest_seconds: float
    finished: int
    rate_per_minute: float | None
    eta_seconds: float | None
    progress: float | None
    put_off: tuple[PutOff, ...]
    failures: tuple[Failures, ...]

    @property
    def open(self) -> int:
        """How many are not finished."""
        return self.ready + self.postponed + self.leased + self.lapsed


@dataclass(slots=True)
class _Open:
    """What is open of one kind of stage, or of the index tasks."""

    ready: int = 0
    postponed: int = 0
    leased: int = 0
    lapsed: int = 0
    oldest: int | None = None
    first_ready: int | None = None
    first_lapse: int | None = None
    last_move: int | None = None
    told: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.ready + self.postponed + self.leased + self.lapsed

    def age(self, created_at: int) -> None:
        self.oldest = created_at if self.oldest is None else min(self.oldest, created_at)

    def wait(self, ready_at: int, moment: int) -> None:
        if ready_at <= moment:
            self.first_ready = ready_at if self.first_ready is None else min(self.first_ready, ready_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What ended of one kind of stage: how many in the last five minutes, in the last one, and how many a second."""

    count: int = 0
    lately: int = 0
    per_second: float = 0.0


TASKS = "tasks"  # Stands beside the names of stages: the changes that an index has yet to make.


def queues(session: Session, *, watched_seconds: float = inf) -> list[QueueView]:
    """Return what an operator should know of each queue, in the order in which documents pass through them.

    `watched_seconds` is for how long the caller has been up. What was left lying longer than that may have had nobody
    before, and whoever started with the caller may still be on the way: such a queue is not told to be dead yet.
    """
    moment = now(session)
    open_ = _open(session, moment)
    done = {name: _done(session, name, moment) for name in StageName}
    put_off = _put_off(session, moment)
    failures = _failures(session)
    return [
        _view(
            session,
            queue,
            names,
            moment,
            watched_seconds=watched_seconds,
            open_={name: open_[name] for name in (*names, *([TASKS] if queue == "index" else []))},
            done={name: done[name] for name in names},
            put_off=[one for name in names for one in put_off.get(name, [])],
            failures=[one for one in failures if one.stage in names],
        )
        for queue, names in _by_queue().items()
    ]


def _by_queue() -> dict[str, list[StageName]]:
    found: dict[str, list[StageName]] = {}
    for name in StageName:
        found.setdefault(QUEUES[name], []).append(name)
    return found


def _view(  # noqa: PLR0913 - what was seen, by keyword
    session: Session,
    queue: str,
    names: list[StageName],
    moment: int,
    *,
    watched_seconds: float,
    open_: Mapping[str, _Open],
    done: Mapping[StageName, _Done],
    put_off: Iterable[PutOff],
    failures: Iterable[Failures],
) -> QueueView:
    parts = list(open_.values())
    merged = _merged(put_off)
    lapses = [part.first_lapse for part in parts if part.first_lapse is not None]
    moves = [part.last_move for part in parts if part.last_move is not None]
    oldest = [part.oldest for part in parts if part.oldest is not None]
    told = [one for part in parts for one in part.told]
    first = min((part.first_ready for part in parts if part.first_ready is not None), default=moment)
    somebody = any(part.leased for part in parts) or any(one.lately for one in done.values())
    untaken = 0.0 if somebody else untaken_seconds(session, names, moment, first_ready=first, tasks=TASKS in open_)
    facts = QueueFacts(
        ready=sum(part.ready for part in parts),
        postponed=sum(part.postponed for part in parts),
        leased=sum(part.leased for part in parts),
        lapsed=sum(part.lapsed for part in parts),
        lapsed_seconds=max(0, moment - min(lapses)) / SECOND if lapses else 0.0,
        still_seconds=max(0, moment - max(moves)) / SECOND if moves else None,
        done_lately=sum(one.lately for one in done.values()),
        untaken_seconds=min(untaken, watched_seconds),
        put_off=merged,
    )
    verdict, detail = judge(facts)
    per_second = sum(one.per_second for one in done.values())
    # What is still to come of a stage counts too, where the next one is of this queue: a file that is read is then cut.
    ahead = sum(open_[name].count * (len(names) - place) for place, name in enumerate(names))
    return QueueView(
        queue=queue,
        verdict=verdict,
        detail=detail,
        ready=facts.ready,
        postponed=facts.postponed,
        leased=facts.leased,
        lapsed=facts.lapsed,
        oldest_seconds=max(0, moment - min(oldest)) / SECOND if oldest else 0.0,
        finished=sum(one.count for one in done.values()),
        rate_per_minute=per_second * 60 if per_second else None,
        eta_seconds=ahead / per_second if per_second else None,
        progress=sum(told) / len(told) if told else None,
        put_off=merged,
        failures=tuple(failures),
    )


def _open(session: Session, moment: int) -> dict[str, _Open]:
    found: dict[str, _Open] = defaultdict(_Open)
    is_ready = func.sum(case((StageRow.ready_at <= moment, 1), else_=0))
    for suspects in (False, True):  # One by one, so that each reads the index of what is open, and never what is done.
        ages = (func.min(StageRow.created_at), func.min(StageRow.ready_at))
        counted = select(StageRow.name, func.count(), is_ready, *ages).where(waits(suspects=suspects))
        for name, count, ready, oldest, first in session.execute(counted.group_by(StageRow.name)):
            found[name].ready += ready
            found[name].postponed += count - ready
            found[name].age(oldest)
            found[name].wait(first, moment)
    leased = select(
        StageRow.name, StageRow.lease_until, StageRow.progress, StageRow.progressed_at, StageRow.created_at
    ).where(StageRow.state == LEASED)  # No more than workers have in hand.
    for row in session.execute(leased):
        part = found[row.name]
        part.age(row.created_at)
        until = row.lease_until or 0
        if until <= moment:
            part.lapsed += 1
            part.first_lapse = until if part.first_lapse is None else min(part.first_lapse, until)
            continue
        part.leased += 1
        part.last_move = max(part.last_move or 0, row.progressed_at or 0) or None
        part.told += [] if row.progress is None else [row.progress]
    _add_tasks(session, found[TASKS], moment)
    return found


def _add_tasks(session: Session, part: _Open, moment: int) -> None:
    """Count the changes of the index. One that was claimed is hidden for a while, and so is one that was put off."""
    row = IndexTaskRow
    hidden = and_(row.ready_at > moment, row.attempt > 0)
    count, ready, postponed, oldest, first = session.execute(
        select(
            func.count(),
            func.coalesce(func.sum(case((row.ready_at <= moment, 1), else_=0)), 0),
            func.coalesce(func.sum(case((and_(hidden, row.detail.is_not(None)), 1), else_=0)), 0),
            func.min(row.created_at),
            func.min(row.ready_at),
        ).where(row.done_at.is_(None))
    ).one()
    part.ready, part.postponed, part.leased = ready, postponed, count - ready - postponed
    if oldest is not None:
        part.age(oldest)
        part.wait(first, moment)


def _done(session: Session, name: StageName, moment: int) -> _Done:
    since = moment - round(RATE_SECONDS * SECOND)
    newest = (
        select(StageRow.finished_at)
        .where(StageRow.state == _DONE, StageRow.name == name.value, StageRow.finished_at > since)
        .order_by(StageRow.finished_at.desc())
        .limit(MOST_COUNTED)
        .subquery()
    )
    lately = case((newest.c.finished_at > moment - round(LATELY_SECONDS * SECOND), 1), else_=0)
    count, recent, first = session.execute(
        select(func.count(), func.coalesce(func.sum(lately), 0), func.min(newest.c.finished_at))
    ).one()
    if not count:
        return _Done()
    seconds = max(SHORTEST_SECONDS, (moment - first) / SECOND)
    return _Done(count=count, lately=recent, per_second=count / seconds)


def _put_off(session: Session, moment: int) -> dict[StageName, list[PutOff]]:
    """Return what waits for another attempt. That of a part which every document needs is not counted as one."""
    shared = case((StageRow.attempt == 0, 1), else_=0)
    rows = session.execute(
        select(StageRow.name, StageRow.reason, shared.label("shared"), func.count().label("count"))
        .where(StageRow.state == QUEUED, StageRow.reason.is_not(None), StageRow.ready_at > moment)
        .group_by(StageRow.name, StageRow.reason, shared)
    )
    found: dict[StageName, list[PutOff]] = {}
    for name, reason, is_shared, count in rows:
        found.setdefault(StageName(name), []).append(PutOff(reason=reason, count=count, shared=bool(is_shared)))
    return found


def _merged(put_off: Iterable[PutOff]) -> tuple[PutOff, ...]:
    counts: Counter[tuple[str, bool]] = Counter()
    for one in put_off:
        counts[one.reason, one.shared] += one.count
    return tuple(
        PutOff(reason=reason, count=counts[reason, shared], shared=shared) for reason, shared in sorted(counts)
    )


def _failures(session: Session) -> list[Failures]:
    """Return what failed: the dead letters of all tenants, and each of several failed stages of one document."""
    rows = session.execute(
        select(StageRow.name, func.coalesce(StageRow.reason, Reason.INTERNAL.value), func.count())
        .join(DocumentRow, OF_NEWEST)
        .where(counts_as_failed(), StageRow.tenant > "")  # every tenant: so SQLite sees its index
        .group_by(StageRow.name, StageRow.reason)
    )
    found = [Failures(stage=StageName(name), reason=Reason(reason), count=count) for name, reason, count in rows]
    order = list(StageName)
    return sorted(found, key=lambda one: (order.index(one.stage), -one.count, one.reason))
