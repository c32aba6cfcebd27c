"""The queue of record: who works on which stage, until when, and who comes next.

A stage is claimed by lease; what becomes of leases is in `core.db.leases`. Every claim raises its fence, and results
commit only under the claimer's own fence, so at most one worker's result counts however many believe that the stage is
theirs. Leases are compared by the database's clock alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Select,
    String,
    and_,
    bindparam,
    case,
    column,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from core.db.base import UuidKey, db_now
from core.db.clock import SECOND, now
from core.db.matching import with_keys
from core.db.tables import DocumentRow, StageRow, TurnRow, VersionRow
from core.db.turns import (
    LEASED,
    LONG,
    LONG_TURN,
    SUSPECT_AFTER,
    Candidate,
    in_turn,
    is_ready,
    lanes,
    queued_in_turn,
    take_turns,
)
from core.domain import StageName
from core.ids import DocumentId, IndexId, StageId, TenantId, VersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedStage:
    """A stage that the holder may work on, with what the work needs to know.

    `attempt` counts this claim too: 1 at the first. `child_deaths` counts how often its parser's own child was killed
    before; deaths of whole workers are among the attempts alone. `input_hash` is what the stage before put out; for
    parse, the hash of the blob. `media_type` and `parsed_hash` are None until parsing is done.
    """

    tenant: TenantId
    id: StageId
    name: StageName
    document: DocumentId
    version: VersionId
    index_id: IndexId
    fence: int
    attempt: int
    child_deaths: int
    input_hash: str | None
    blob_hash: str
    document_name: str
    media_type: str | None
    parsed_hash: str | None

    @property
    def long(self) -> bool:
        """Whether the document was found to be a long one, and waits with its like (`set_aside`)."""
        return self.name is StageName.CHUNK and self.index_id == LONG


def claim(
    session: Session,
    names: Collection[StageName],
    *,
    owner: str,
    limit: int,
    lease_seconds: float,
    index_ids: Collection[IndexId] | None = None,
    suspects: bool | None = None,
    long: bool | None = None,
) -> list[ClaimedStage]:
    """Lease up to `limit` stages of these names, and return them.

    Claimable is what is queued and ready, and what is leased to somebody whose lease has lapsed. Oldest document
    first, but tenant by tenant in turn, so that nobody waits behind another tenant's archive: who was not served for
    longest is first. The cost grows with the tenants that have work, not with the rows that wait or are done. With
    `index_ids`, only index stages of these indexes (other stages are of no index). Two workers never get the same
    stage.

    `suspects` says whether to claim only stages that were attempted `SUSPECT_AFTER` times or more, only others, or
    (None) any. Suspects are to be claimed one at a time, by who has nothing else in hand: so whatever is attempted
    more often than that failed, or killed its worker, by itself. `long` says the same of what was `set_aside`.
    """
    moment = now(session)
    # Where several writers may be at it, more than wanted: others may be locking the first of them in this moment.
    one_writer = session.get_bind().dialect.name == "sqlite"
    fetched = limit if one_writer else 4 * limit
    wanted = lanes(session, names, index_ids, suspects=suspects, long=long)
    while True:
        candidates = _lapsed(session, names, moment, fetched, index_ids, suspects=suspects, long=long)
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
            progress=None,
            progressed_at=moment,
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
            child_deaths=row.child_deaths,
            input_hash=row.input_hash,
            blob_hash=versions[row.tenant, row.version_id].blob_hash,
            document_name=versions[row.tenant, row.version_id].document_name,
            media_type=versions[row.tenant, row.version_id].media_type,
            parsed_hash=versions[row.tenant, row.version_id].parsed_hash,
        )
        for row in rows
    ]


def has_claimable(
    session: Session,
    names: Collection[StageName],
    *,
    index_ids: Collection[IndexId] | None = None,
    suspects: bool | None = None,
    long: bool | None = None,
) -> bool:
    """Return whether `claim` would find something now."""
    moment = _now_planned_once(session)
    if _lapsed(session, names, moment, 1, index_ids, suspects=suspects, long=long):
        return True
    wanted = lanes(session, names, index_ids, suspects=suspects, long=long)
    return any(is_ready(session, lane, moment) for lane in wanted)


def _now_planned_once(session: Session) -> int:
    """Return the database's time of now, and have PostgreSQL use its plans again until the end of the transaction.

    From some ten thousand stages on it believes that it pays to plan anew, which takes as long as the answer.
    """
    if session.get_bind().dialect.name == "sqlite":
        return now(session)
    return int(session.execute(_NOW_PLANNED_ONCE).one()[0])


_NOW_PLANNED_ONCE = select(db_now(), func.set_config("plan_cache_mode", "force_generic_plan", true()))


def _lapsed(
    session: Session,
    names: Collection[StageName],
    moment: int,
    limit: int,
    index_ids: Collection[IndexId] | None,
    *,
    suspects: bool | None,
    long: bool | None,
) -> list[Candidate]:
    """Return up to `limit` stages whose lease has lapsed: few, for no more are leased than workers have in hand."""
    given = {"names": list(names), "moment": moment, "most": limit}
    if index_ids is not None:
        given["index_ids"] = ["", LONG, *index_ids]
    statement = _lapsed_statement(of_indexes=index_ids is not None, suspects=suspects, long=long)
    return [
        Candidate(tenant=row.tenant, id=row.id, turn=row.turn, ready_at=row.ready_at, served_at=row.served_at)
        for row in session.execute(statement, given)
    ]


@cache  # Built once: it is asked ten times a second, and composing it takes longer than the answer.
def _lapsed_statement(*, of_indexes: bool, suspects: bool | None, long: bool | None) -> Select[Any]:
    is_long = and_(StageRow.name == StageName.CHUNK.value, StageRow.index_id == LONG)
    turn = case((is_long, LONG_TURN), else_=StageRow.name)
    statement = (
        select(StageRow.tenant, StageRow.id, turn.label("turn"), StageRow.ready_at, TurnRow.served_at)
        .outerjoin(TurnRow, and_(TurnRow.tenant == StageRow.tenant, TurnRow.name == turn))
        .where(
            StageRow.state == LEASED,
            StageRow.name.in_(bindparam("names", expanding=True)),
            StageRow.lease_until <= bindparam("moment"),
        )
    )
    if of_indexes:
        statement = statement.where(StageRow.index_id.in_(bindparam("index_ids", expanding=True)))
    if suspects is not None:
        statement = statement.where(StageRow.attempt >= SUSPECT_AFTER if suspects else StageRow.attempt < SUSPECT_AFTER)
    if long is not None:
        statement = statement.where(is_long if long else not_(is_long))
    return statement.order_by(StageRow.lease_until, StageRow.id).limit(bindparam("most", type_=BigInteger))


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
        StageRow.child_deaths,
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
