"""Whose turn it is: the order in which stages are claimed, found in a few steps however long the queue is.

Who waits is read off the queue itself: partial indexes hold nothing but queued stages, tenant by tenant, and a walk
jumps from one tenant to the next. What the turn table adds is when each was last served. So a turn that is missing,
for whatever reason, means "never served, so first": no stage can be hidden by it, and whoever queues a stage need not
know of turns.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session, aliased

from core.db.inserting import insert_missing
from core.db.tables import StageRow, TurnRow
from core.domain import StageName
from core.ids import IndexId

SUSPECT_AFTER = 3  # Attempts that may be somebody else's doing: whoever shares a batch with a poison dies of it too.

# Spelled out in the statement, never sent as parameters: a database uses a partial index only where it can see that
# the rows wanted are among those in the index. The predicates of the indexes in `core.db.tables.work` are these.
QUEUED: ColumnElement[str] = literal_column("'queued'")
LEASED: ColumnElement[str] = literal_column("'leased'")

# The lane of long documents that wait to be chunked, told by what stands where other lanes have their index: only index
# stages are of one, and no index has this name. They take turns of their own: who has just been served with a short
# document is not thereby last in the queue of the long ones.
LONG = "long"
LONG_TURN = "chunk long"
OPEN = ("waiting", "queued", "leased")  # What is not ended; for conditions that no partial index has.
_SUSPECT_AFTER: ColumnElement[int] = literal_column(str(SUSPECT_AFTER))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The queued stages of one name and one index, suspects or others: one stretch of one partial index."""

    name: str
    index_id: str
    suspects: bool

    @property
    def turn(self) -> str:
        """The name under which it is noted who was served from here."""
        return LONG_TURN if self.index_id == LONG else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stage that may be claimed. `served_at` is when its tenant last had a turn of this name, or None."""

    tenant: str
    id: UUID
    turn: str
    ready_at: int
    served_at: int | None


def waits(stage: type[StageRow] = StageRow, *, suspects: bool) -> ColumnElement[bool]:
    """Return the predicate of one of the two indexes of queued stages: suspects, or others."""
    return and_(stage.state == QUEUED, stage.attempt >= _SUSPECT_AFTER if suspects else stage.attempt < _SUSPECT_AFTER)


def lanes(
    session: Session,
    names: Collection[StageName],
    index_ids: Collection[IndexId] | None,
    *,
    suspects: bool | None,
    long: bool | None = None,
) -> list[Lane]:
    """Return the lanes in which wanted stages may wait; only index stages are of an index.

    `long`: only the lane of long documents, only others, or (None) both.
    """
    parts = (False, True) if suspects is None else (suspects,)
    found: list[Lane] = []
    for name in dict.fromkeys(names):
        for part in parts:
            if name is StageName.CHUNK:
                indexes: Iterable[str] = {None: ("", LONG), True: (LONG,), False: ("",)}[long]
            elif name is not StageName.INDEX:
                indexes = ("",)
            elif index_ids is not None:
                indexes = dict.fromkeys(("", *index_ids))
            else:
                indexes = _indexes(session, name, suspects=part)
            found += [Lane(name=name.value, index_id=index, suspects=part) for index in indexes]
    return found


def is_ready(session: Session, lane: Lane, moment: int) -> bool:
    """Return whether any stage of the lane is ready."""
    return session.execute(_ready(suspects=lane.suspects), _parameters(lane, moment, 1)).first() is not None


def queued_in_turn(session: Session, lane: Lane, moment: int, limit: int) -> list[Candidate]:
    """Return up to `limit` stages of the lane that are ready: everybody's oldest, everybody's second, and so on.

    Whoever was not served for longest is first, and among those whoever waits for longest.
    """
    return [
        Candidate(tenant=row.tenant, id=row.id, turn=lane.turn, ready_at=row.ready_at, served_at=row.served_at)
        for row in session.execute(walk(suspects=lane.suspects), _parameters(lane, moment, limit))
    ]


def in_turn(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return stages of several lanes tenant by tenant in turn, the oldest document of each first."""
    served: dict[str, int] = {}
    for one in candidates:  # Of several names of stages: whoever had a turn with any of them had a turn.
        served[one.tenant] = max(served.get(one.tenant, 0), one.served_at or 0)
    seen: Counter[str] = Counter()
    places: list[tuple[int, int, int, Candidate]] = []
    for place, one in enumerate(sorted(candidates, key=lambda one: (one.ready_at, one.id))):
        places.append((seen[one.tenant], served[one.tenant], place, one))
        seen[one.tenant] += 1
    return [one for *_, one in sorted(places, key=lambda found: found[:3])]


def take_turns(session: Session, claimed: Collection[Candidate], moment: int) -> None:
    """Note that the tenants of these stages were served now. To be the last that a claim does.

    The order of locks: a claim locks stages first, skipping those that others hold, and turns last, skipping again
    (whoever holds one is serving the same tenant in this moment, and notes it). So no claim waits for another, but for
    one case: two serve a tenant for the first time ever. The second waits until the first has committed, and because
    all insert in the order of the keys, nobody waits in a circle.
    """
    missing = {(one.tenant, one.turn) for one in claimed if one.served_at is None}
    insert_missing(
        session, TurnRow, [{"tenant": tenant, "name": name, "served_at": moment} for tenant, name in sorted(missing)]
    )
    tenants: dict[str, set[str]] = {}
    for one in claimed:
        if one.served_at is not None:
            tenants.setdefault(one.turn, set()).add(one.tenant)
    if tenants:
        noted = (and_(TurnRow.name == name, TurnRow.tenant.in_(sorted(some))) for name, some in sorted(tenants.items()))
        free = select(TurnRow.tenant, TurnRow.name).where(or_(*noted)).with_for_update(skip_locked=True)
        session.execute(
            update(TurnRow)
            .where(tuple_(TurnRow.tenant, TurnRow.name).in_(free))
            .values(served_at=moment)
            .execution_options(synchronize_session=False)
        )


def _indexes(session: Session, name: StageName, *, suspects: bool) -> list[str]:
    # Jumps from one index to the next; there are a few, and each may have a long queue.
    found: list[str] = []
    queued = select(StageRow.index_id).where(waits(suspects=suspects), StageRow.name == name.value)
    following = queued.order_by(StageRow.index_id).limit(1)
    while (index := session.scalars(following).one_or_none()) is not None:
        found.append(index)
        following = queued.where(StageRow.index_id > index).order_by(StageRow.index_id).limit(1)
    return found


_NAME = bindparam("lane_name", type_=String)
_INDEX = bindparam("lane_index", type_=String)
_TURN = bindparam("lane_turn", type_=String)
_MOMENT = bindparam("moment", type_=BigInteger)
_LIMIT = bindparam("most", type_=BigInteger)


def _parameters(lane: Lane, moment: int, limit: int) -> dict[str, object]:
    return {
        "lane_name": lane.name,
        "lane_index": lane.index_id,
        "lane_turn": lane.turn,
        "moment": moment,
        "most": limit,
    }


def _in_lane(stage: type[StageRow], *, suspects: bool) -> ColumnElement[bool]:
    return and_(waits(stage, suspects=suspects), stage.name == _NAME, stage.index_id == _INDEX)


@cache
def _ready(*, suspects: bool) -> Select[Any]:
    tenants = _tenants(suspects=suspects)
    return select(tenants.c.tenant).where(_oldest(tenants, suspects=suspects) <= _MOMENT).limit(1)


@cache  # Built once: SQLAlchemy takes longer over it than the database does.
def walk(*, suspects: bool) -> Select[Any]:
    """Return the statement that finds whose stages are next in a lane; parameters as in `_parameters`."""
    tenants = _tenants(suspects=suspects)
    turn = and_(TurnRow.name == _TURN, TurnRow.tenant == tenants.c.tenant)
    waiting = (
        select(tenants.c.tenant, TurnRow.served_at, _oldest(tenants, suspects=suspects).label("oldest"))
        .outerjoin_from(tenants, TurnRow, turn)
        .where(tenants.c.tenant.is_not(None))
        .cte("waiting")
        .prefix_with("MATERIALIZED")  # or PostgreSQL looks for the oldest once for each time that it is named below
    )
    chosen = (
        select(waiting)
        .where(waiting.c.oldest <= _MOMENT)
        .order_by(func.coalesce(waiting.c.served_at, 0), waiting.c.oldest, waiting.c.tenant)
        .limit(_LIMIT)
        .cte("chosen")
    )
    seed = aliased(StageRow)
    first = (
        select(seed.id)
        .where(_in_lane(seed, suspects=suspects), seed.tenant == chosen.c.tenant, seed.ready_at == chosen.c.oldest)
        .order_by(seed.id)
        .limit(1)
        .correlate(chosen)
    )
    queue = select(
        chosen.c.tenant,
        chosen.c.served_at,
        chosen.c.oldest.label("ready_at"),
        first.scalar_subquery().label("id"),
        literal(1, BigInteger).label("place"),
    ).cte("queue", recursive=True)
    # From everybody's stage to the next one of each. Both databases do one round after the other, and stop at the
    # limit; so of a long queue no more is read than is wanted.
    following = (_next(queue, column, suspects=suspects) for column in ("ready_at", "id"))
    queue = queue.union_all(
        select(queue.c.tenant, queue.c.served_at, *following, queue.c.place + 1).where(
            queue.c.id.is_not(None), queue.c.place < _LIMIT
        )
    )
    return select(queue).where(queue.c.id.is_not(None)).limit(_LIMIT)


def _tenants(*, suspects: bool) -> CTE:
    """Everybody who waits in the lane, and NULL at the end: one jump along the index for each of them."""
    first = aliased(StageRow)
    least = select(first.tenant).where(_in_lane(first, suspects=suspects)).order_by(first.tenant).limit(1)
    tenants = select(least.scalar_subquery().label("tenant")).cte("tenants", recursive=True)
    later = aliased(StageRow)
    following = (
        select(later.tenant)
        .where(_in_lane(later, suspects=suspects), later.tenant > tenants.c.tenant)
        .order_by(later.tenant)
        .limit(1)
        .correlate(tenants)
    )
    return tenants.union_all(
        select(following.scalar_subquery()).select_from(tenants).where(tenants.c.tenant.is_not(None))
    )


def _oldest(tenants: CTE, *, suspects: bool) -> ScalarSelect[int]:
    stage = aliased(StageRow)
    oldest = select(stage.ready_at).where(_in_lane(stage, suspects=suspects), stage.tenant == tenants.c.tenant)
    return oldest.order_by(stage.ready_at).limit(1).correlate(tenants).scalar_subquery()


def _next(queue: CTE, column: str, *, suspects: bool) -> ScalarSelect[Any]:
    stage = aliased(StageRow)
    return (
        select(getattr(stage, column))
        .where(
            _in_lane(stage, suspects=suspects),
            stage.tenant == queue.c.tenant,
            tuple_(stage.ready_at, stage.id) > tuple_(queue.c.ready_at, queue.c.id),
            stage.ready_at <= _MOMENT,
        )
        .order_by(stage.ready_at, stage.id)
        .limit(1)
        .correlate(queue)
        .scalar_subquery()
    )
