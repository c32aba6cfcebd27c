"""What stages made of their inputs, by the hash of these: the first writer wins, since a parse may differ each time."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.inserting import insert_missing
from core.db.tables import StageResultRow
from core.ids import TenantId


def stage_result(session: Session, tenant: TenantId, input_hash: str) -> str | None:
    """Return what a stage made of inputs with this hash, as the hash of its output; None if none did yet."""
    return session.scalars(
        select(StageResultRow.output_hash).where(
            StageResultRow.tenant == tenant, StageResultRow.input_hash == input_hash
        )
    ).one_or_none()


def record_stage_result(session: Session, tenant: TenantId, input_hash: str, output_hash: str) -> str:
    """Record an output unless there is one already, and return the one that counts: the first writer's."""
    row = {"tenant": tenant, "input_hash": input_hash, "output_hash": output_hash, "created_at": now(session)}
    insert_missing(session, StageResultRow, [row])
    winner = stage_result(session, tenant, input_hash)
    if winner is None:
        raise AssertionError("a row that was just inserted, or was there, is not there")
    return winner


def replace_stage_result(session: Session, tenant: TenantId, input_hash: str, lost: str, output_hash: str) -> None:
    """Let this output count instead of `lost`, whose bytes nobody has any more."""
    session.execute(
        update(StageResultRow)
        .where(
            StageResultRow.tenant == tenant,
            StageResultRow.input_hash == input_hash,
            StageResultRow.output_hash == lost,
        )
        .values(output_hash=output_hash, created_at=now(session))
        .execution_options(synchronize_session=False)
    )
