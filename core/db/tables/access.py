"""Tenants, their directories, keys, and who may read what."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base, JsonValue, Micros, UuidKey


class TenantRow(Base):
    """An organisation: nothing is shared across tenants."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[int] = mapped_column(Micros)


class UserRow(Base):
    """A person of the directory. Who is suspended reads nothing, and their keys open nothing."""

    __tablename__ = "users"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    suspended: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[int] = mapped_column(Micros)


class GroupRow(Base):
    """A group of the directory."""

    __tablename__ = "groups"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    created_at: Mapped[int] = mapped_column(Micros)


class MembershipRow(Base):
    """`member` (`user:U` or `group:H`) belongs to the group. Cycles are allowed and harmless."""

    __tablename__ = "memberships"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    group_name: Mapped[str] = mapped_column(String(255), primary_key=True)
    member: Mapped[str] = mapped_column(String(300), primary_key=True)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "group_name"], ["groups.tenant", "groups.name"], ondelete="CASCADE"),
        Index("ix_memberships_member", "tenant", "member", "group_name"),  # covers the way up of a closure
    )


class ApiKeyRow(Base):
    """An API key: only the SHA-256 of its secret is kept; `prefix` finds the row and is safe to show."""

    __tablename__ = "api_keys"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    user_name: Mapped[str] = mapped_column(String(255))
    label: Mapped[str] = mapped_column(String(255), default="")
    prefix: Mapped[str] = mapped_column(String(32), unique=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    role: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[list[str]] = mapped_column(JsonValue)
    created_at: Mapped[int] = mapped_column(Micros)
    expires_at: Mapped[int | None] = mapped_column(Micros)
    last_used_at: Mapped[int | None] = mapped_column(Micros)
    revoked_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "user_name"], ["users.tenant", "users.name"], ondelete="CASCADE"),
        CheckConstraint("role IN ('reader', 'editor', 'admin')", name="role"),
    )


class BrowserSessionRow(Base):
    """A browser's session or, until `exchanged_at`, the one-time link that opens it. Only hashes are kept."""

    __tablename__ = "browser_sessions"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    key_id: Mapped[UUID] = mapped_column(UuidKey)
    kind: Mapped[str] = mapped_column(String(8))
    csrf_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    created_at: Mapped[int] = mapped_column(Micros)
    expires_at: Mapped[int] = mapped_column(Micros)
    used_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "key_id"], ["api_keys.tenant", "api_keys.id"], ondelete="CASCADE"),
        CheckConstraint("kind IN ('link', 'session')", name="kind"),
        Index("ix_browser_sessions_token", "token_hash", unique=True),  # a cookie does not say its tenant
    )


class AccessEntryRow(Base):
    """Allows or denies a principal on a document, or on a folder and all below it.

    A folder entry with `source_id` holds in that source; without, in every source of the tenant (directory imports
    name paths, not sources). `folder` is relative, `/`-separated, without slashes at its ends; "" is the root.
    """

    __tablename__ = "access_entries"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    document_id: Mapped[UUID | None] = mapped_column(UuidKey)
    source_id: Mapped[UUID | None] = mapped_column(UuidKey)
    folder: Mapped[str | None] = mapped_column(String(1024))
    principal: Mapped[str] = mapped_column(String(300))
    effect: Mapped[str] = mapped_column(String(5))
    origin: Mapped[str] = mapped_column(String(16), default="manual")
    created_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "document_id"], ["documents.tenant", "documents.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["tenant", "source_id"], ["sources.tenant", "sources.id"], ondelete="CASCADE"),
        CheckConstraint("effect IN ('allow', 'deny')", name="effect"),
        CheckConstraint("(document_id IS NULL) <> (folder IS NULL)", name="target"),
        CheckConstraint("document_id IS NULL OR source_id IS NULL", name="document_or_source"),
        Index("ix_access_entries_document", "tenant", "document_id"),
        Index("ix_access_entries_folder", "tenant", "folder"),
    )
