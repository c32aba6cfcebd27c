"""Conversations and answers (a log that is written once and read as often as wanted), usage and audit."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base, JsonValue, Micros, UuidKey


class ConversationRow(Base):
    """A conversation belongs to the principal that began it; nobody else is told that it exists."""

    __tablename__ = "conversations"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    owner: Mapped[str] = mapped_column(String(300))
    title: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Micros)
    updated_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (Index("ix_conversations_owner", "tenant", "owner", "updated_at"),)


class AnswerRow(Base):
    """A question and what became of it. `cited`: ids of the cited documents, re-checked before it is shown again."""

    __tablename__ = "answers"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    conversation_id: Mapped[UUID] = mapped_column(UuidKey)
    owner: Mapped[str] = mapped_column(String(300))
    question: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(128))
    release_id: Mapped[UUID | None] = mapped_column(UuidKey)
    prompt_version: Mapped[str | None] = mapped_column(String(32))
    text: Mapped[str | None] = mapped_column(Text)
    abstained: Mapped[bool] = mapped_column(default=False)
    cited: Mapped[list[str]] = mapped_column(JsonValue, default=list)
    created_at: Mapped[int] = mapped_column(Micros)
    finished_at: Mapped[int | None] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "conversation_id"], ["conversations.tenant", "conversations.id"], ondelete="CASCADE"
        ),
        CheckConstraint("state IN ('running', 'done', 'error', 'stopped')", name="state"),
        Index("ix_answers_conversation", "tenant", "conversation_id", "created_at"),
    )


class AnswerEventRow(Base):
    """One event of an answer's stream; `seq` counts from 1 without gaps and is the SSE event id."""

    __tablename__ = "answer_events"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    answer_id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    created_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "answer_id"], ["answers.tenant", "answers.id"], ondelete="CASCADE"),
    )


class UsageRow(Base):
    """Tokens that an answer cost."""

    __tablename__ = "usage"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    owner: Mapped[str] = mapped_column(String(300))
    model: Mapped[str] = mapped_column(String(128))
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    created_at: Mapped[int] = mapped_column(Micros)


class AuditRow(Base):
    """Who did what to what. Written in the transaction of the deed; never holds document text or questions."""

    __tablename__ = "audit"
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[UUID] = mapped_column(UuidKey, primary_key=True)
    actor: Mapped[str] = mapped_column(String(300))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(4096))
    detail: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict)
    created_at: Mapped[int] = mapped_column(Micros)
    __table_args__ = (Index("ix_audit_time", "tenant", "created_at"),)
