"""Stages, wake-ups and index tasks: the queue of record; indexes and releases with their manifests."""

from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base, JsonValue, Micros, UuidKey

# The last three for who counts what is open: SQLite answers from the index alone only if it has them.
_LANE = ("name", "index_id", "tenant", "ready_at", "id", "created_at", "attempt", "state")


def _of_stages(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class StageRow(Base):
    """One step of one version's way in. Claimed by lease; results commit only under the claimer's fence.

    States: waiting (for the stage before) -> queued -> leased -> done | failed | cancelled. `attempt` counts claims
    whose worker failed or died of this stage; a reclaim at start-up of the embedded mode is none. `child_deaths` counts
    apart from them how often the parser's own child was killed while it had this document. `progress` is the
    fraction that is done of a leased one, None where its worker cannot tell; `progressed_at` when that last changed.
    `refilled_at`: when it was queued anew because the index had lost points of a version that readers see; None once
    it is done.
    """

    __tablename__ = "stages"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    document_id: Mapped[UUID] = mapped_column(UuidKey)
    version_id: Mapped[UUID] = mapped_column(UuidKey)
    name: Mapped[str] = mapped_column(String(16))
    index_id: Mapped[str] = mapped_column(String(64), default="")
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(default=0)
    child_deaths: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    fence: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[int | None] = mapped_column(Micros)
    ready_at: Mapped[int] = mapped_column(Micros)
    input_hash: Mapped[str | None] = mapped_column(String(64))
    output_hash: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str | None] = mapped_column(Text)
    page: Mapped[int | None]
    excerpt: Mapped[str | None] = mapped_column(Text)
    progress: Mapped[float | None]
    progressed_at: Mapped[int | None] = mapped_column(Micros)
    created_at: Mapped[int] = mapped_column(Micros)
    started_at: Mapped[int | None] = mapped_column(Micros)
    finished_at: Mapped[int | None] = mapped_column(Micros)
    refilled_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "version_id"], ["versions.tenant", "versions.id"], ondelete="CASCADE"),
        UniqueConstraint("tenant", "version_id", "name", "index_id"),
        CheckConstraint("state IN ('waiting', 'queued', 'leased', 'done', 'failed', 'cancelled')", name="state"),
        CheckConstraint("name IN ('parse', 'chunk', 'embed', 'index')", name="name"),
        # What is claimable, and nothing else: they stay small however much is done. Queries spell out the predicates.
        _of_stages("ix_stages_queued", *_LANE, where="state = 'queued' AND attempt < 3"),
        _of_stages("ix_stages_suspect", *_LANE, where="state = 'queued' AND attempt >= 3"),
        _of_stages("ix_stages_leased", "name", "lease_until", where="state = 'leased'"),
        # The dead letters (`core.db.deadletters`), however many documents are fine.
        _of_stages("ix_stages_failed", "tenant", "document_id", where="state = 'failed'"),
        # What is being put back into an index (`core.db.comparing`), however much is on its way in.
        _of_stages("ix_stages_refilled", "index_id", where="refilled_at IS NOT NULL"),
        # What operators are told of the queues (`core.db.queues`).
        _of_stages(
            "ix_stages_retried",
            "name",
            "reason",
            "attempt",
            "ready_at",
            where="state = 'queued' AND reason IS NOT NULL",
        ),
        _of_stages("ix_stages_finished", "name", "finished_at", where="state = 'done'"),
    )


class TurnRow(Base):
    """When a tenant was last served with stages of a name: fairness between tenants. A missing one means never.

    Losing turns costs fairness for one round, never work: who waits is read off the stages. Other names are signs of
    life (`core.db.signs`).
    """

    __tablename__ = "turns"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    served_at: Mapped[int] = mapped_column(Micros)


class WakeupRow(Base):
    """A note, written with the work it announces, that a stage wants to be run. Losing one costs time, never work."""

    __tablename__ = "wakeups"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    stage_id: Mapped[UUID] = mapped_column(UuidKey)
    queue: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "stage_id"], ["stages.tenant", "stages.id"], ondelete="CASCADE"),
        Index("ix_wakeups_order", "id"),
        Index("ix_wakeups_stage", "tenant", "stage_id"),
    )


class IndexTaskRow(Base):
    """A change that an index still has to make: new access payload, or points that must go. Written with its cause."""

    __tablename__ = "index_tasks"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    document_id: Mapped[UUID] = mapped_column(UuidKey)
    version_id: Mapped[UUID | None] = mapped_column(UuidKey)
    attempt: Mapped[int] = mapped_column(default=0)
    detail: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Micros)
    ready_at: Mapped[int] = mapped_column(Micros)
    done_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "document_id"], ["documents.tenant", "documents.id"], ondelete="CASCADE"),
        CheckConstraint("kind IN ('access', 'purge_version', 'purge_document')", name="kind"),
        # Tenant by tenant, as they are claimed.
        Index("ix_index_tasks_open", "done_at", "tenant", "kind", "ready_at", "id"),
        Index("ix_index_tasks_document", "tenant", "document_id"),
    )


class DeletionReceiptRow(Base):
    """When each store confirmed that it no longer holds anything of the document."""

    __tablename__ = "deletion_receipts"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    document_id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    store: Mapped[str] = mapped_column(String(64), primary_key=True)
    removed: Mapped[int] = mapped_column(default=0)
    confirmed_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "document_id"], ["documents.tenant", "documents.id"], ondelete="CASCADE"),
    )


class SecretRow(Base):
    """A secret of this installation, made with its table; nobody is ever shown one."""

    __tablename__ = "secrets"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class IndexRow(Base):
    """An index: `id` is the hash of its manifest and the name of its collection."""

    __tablename__ = "indexes"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    manifest: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    created_at: Mapped[int] = mapped_column(Micros)


class ReleaseRow(Base):
    """An index plus how it is queried and answered from. At most one is live."""

    __tablename__ = "releases"
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    index_id: Mapped[str] = mapped_column(ForeignKey("indexes.id"))
    manifest: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int] = mapped_column(Micros)
    promoted_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        CheckConstraint("state IN ('building', 'candidate', 'live', 'previous', 'retired', 'drifted')", name="state"),
    )
