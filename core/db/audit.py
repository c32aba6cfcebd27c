"""Who did what to what: written in the transaction of the deed, and never with document text or questions."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.tables import AuditRow
from core.ids import TenantId, uuid7


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One deed: `actor` is a principal or the name of a part of Footnote, `at` is in microseconds since 1970, UTC."""

    id: UUID
    actor: str
    action: str
    target: str
    detail: dict[str, Any]
    at: int


def record(session: Session, tenant: TenantId, actor: str, action: str, target: str, **detail: object) -> None:
    """Write down a deed, to be committed with it. Actions are named `noun.verb`; `detail` must be JSON values."""
    row = AuditRow
    session.execute(
        insert(row).values(
            tenant=tenant,
            id=uuid7(),
            actor=actor[:300],
            action=action,
            target=target[:4096],
            detail=detail,
            created_at=now(session),
        )
    )


def records(session: Session, tenant: TenantId, *, limit: int, before: UUID | None = None) -> list[AuditRecord]:
    """Return up to `limit` records, the newest first, older than the record `before`."""
    row = AuditRow
    statement = select(row.id, row.actor, row.action, row.target, row.detail, row.created_at).where(
        row.tenant == tenant
    )
    if before is not None:
        statement = statement.where(row.id < before)
    return [
        AuditRecord(id=key, actor=actor, action=action, target=target, detail=detail, at=at)
        for key, actor, action, target, detail, at in session.execute(statement.order_by(row.id.desc()).limit(limit))
    ]
