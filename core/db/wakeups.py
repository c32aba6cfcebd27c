"""Wake-ups: rows written with the work they announce. Losing one costs time, never work: the stages are the truth."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from core.db.matching import with_keys
from core.db.tables import WakeupRow
from core.domain import StageName
from core.ids import StageId, TenantId, uuid7

QUEUES = {
    StageName.PARSE: "parse",
    StageName.CHUNK: "parse",  # Cheap, and done by whoever parses.
    StageName.EMBED: "embed",
    StageName.INDEX: "index",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wakeup:
    """A stage that wants to be run, and the queue whose workers run such stages."""

    tenant: TenantId
    stage: StageId
    queue: str


def announce(session: Session, stages: Sequence[tuple[TenantId, StageId, StageName]], moment: int) -> None:
    """Write a wake-up for each stage, in the caller's transaction; `moment` is the database's time of now."""
    if not stages:
        return
    rows = [
        {"tenant": tenant, "id": uuid7(), "stage_id": stage, "queue": QUEUES[name], "created_at": moment}
        for tenant, stage, name in stages
    ]
    session.execute(insert(WakeupRow), rows)


def drain(session: Session, *, limit: int = 1_000) -> list[Wakeup]:
    """Take the oldest wake-ups off the list and return them: the caller looks for work right after the commit.

    This is the polling of the embedded mode, where the taker and the sleeper are one.
    """
    rows = session.execute(
        select(WakeupRow.tenant, WakeupRow.id, WakeupRow.stage_id, WakeupRow.queue)
        .order_by(WakeupRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if rows:
        session.execute(
            delete(WakeupRow)
            .where(with_keys(WakeupRow, [(row.tenant, row.id) for row in rows]))
            .execution_options(synchronize_session=False)
        )
    return [Wakeup(tenant=TenantId(row.tenant), stage=StageId(row.stage_id), queue=row.queue) for row in rows]
