"""Audits: the comparisons of catalogue and index, asked for, running and done."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base, JsonValue, Micros, UuidKey


class IndexAuditRow(Base):
    """One audit over all tenants: `day` (UTC, YYYY-MM-DD) is the nightly one's alone, so that each date has one.

    Held by lease and fence like a stage; one whose holder died is gone on with by another, from the place that was
    kept with the counts (`phase` None: from the beginning). `place_tenant` and `place_after`: what was looked at last.
    """

    __tablename__ = "audits"
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    cause: Mapped[str] = mapped_column(String(16))
    day: Mapped[str | None] = mapped_column(String(10))
    requested_at: Mapped[int] = mapped_column(Micros)
    ready_at: Mapped[int] = mapped_column(Micros)
    started_at: Mapped[int | None] = mapped_column(Micros)
    finished_at: Mapped[int | None] = mapped_column(Micros)
    attempt: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[int | None] = mapped_column(Micros)
    points: Mapped[int] = mapped_column(default=0)
    documents: Mapped[int] = mapped_column(default=0)
    files: Mapped[int] = mapped_column(default=0)
    points_removed: Mapped[int] = mapped_column(default=0)
    documents_refilled: Mapped[int] = mapped_column(default=0)
    access_rewritten: Mapped[int] = mapped_column(default=0)
    files_missing: Mapped[int] = mapped_column(default=0)
    missing: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue, default=list)
    phase: Mapped[str | None] = mapped_column(String(16))
    place_tenant: Mapped[str | None] = mapped_column(String(64))
    place_after: Mapped[str | None] = mapped_column(String(64))
    __table_args__ = (
        UniqueConstraint("day"),
        CheckConstraint("cause IN ('nightly', 'asked', 'start')", name="cause"),
        Index(
            "ix_audits_open",
            "ready_at",
            sqlite_where=text("finished_at IS NULL"),
            postgresql_where=text("finished_at IS NULL"),
        ),
    )


class AuditTotalRow(Base):
    """What audits have healed that are not on record any more, by kind: totals never fall."""

    __tablename__ = "audit_totals"
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    healed: Mapped[int] = mapped_column(BigInteger, default=0)
