"""Conversations and whose they are: anybody but the owner is told that there is no such thing."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from core.access import USER
from core.db.access_facts import batches
from core.db.clock import now
from core.db.tables import ConversationRow, UsageRow
from core.domain import EVERYONE, Principal
from core.errors import NotFound
from core.ids import ConversationId, TenantId, uuid7

REMOVED = "removed"  # Whose the usage of removed users is; no owner is spelled so.

_TITLE_CHARS = 120
_OWNER_CHARS = 300  # A user's name is shorter by far, and never hashed.
_NOBODY = "nobody:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation of one owner; `title` is its first question, shortened. Times in microseconds since 1970."""

    id: ConversationId
    tenant: TenantId
    owner: str
    title: str
    created_at: int
    updated_at: int


def owner_of(principal: Principal) -> str:
    """Return whose conversations these are: the user, or, without one, exactly the principals that are impersonated.

    An empty closure (a suspended or unknown user) owns none of the user's: what it asks is kept apart, and all that it
    could read, stop or remove does not exist for it. This is the one place that says so.
    """
    if not principal.closure:
        owner = _NOBODY + (principal.user or "")
    elif principal.user is not None:
        owner = USER + principal.user
    else:
        owner = "as:" + ",".join(sorted(principal.closure - {EVERYONE}))
    return owner if len(owner) <= _OWNER_CHARS else "sha256:" + hashlib.sha256(owner.encode()).hexdigest()


def remove_conversations(session: Session, tenant: TenantId, users: Collection[str]) -> None:
    """Remove the conversations of the users of these names, with all that was asked and answered in them.

    For names that nobody bears any more, or yet: who bears one later must not find what another one asked. A running
    answer ends with what it would say next, since nothing can be added to it.
    """
    for owners in batches(_owners(users)):
        # Answers and their events go with the conversation: the foreign keys see to it.
        session.execute(
            delete(ConversationRow)
            .where(ConversationRow.tenant == tenant, ConversationRow.owner.in_(owners))
            .execution_options(synchronize_session=False)
        )


def forget_users(session: Session, tenant: TenantId, users: Collection[str]) -> None:
    """Remove what users of these names, who are being removed, asked and were answered.

    What their answers cost stays counted, as nobody's.
    """
    remove_conversations(session, tenant, users)
    for owners in batches(_owners(users)):
        session.execute(
            update(UsageRow)
            .where(UsageRow.tenant == tenant, UsageRow.owner.in_(owners))
            .values(owner=REMOVED)
            .execution_options(synchronize_session=False)
        )


def create_conversation(
    session: Session, tenant: TenantId, *, owner: str, question: str, conversation: ConversationId | None = None
) -> ConversationId:
    """Begin a conversation, titled by its first question; `conversation` is a new id, where one is known already."""
    conversation = conversation or ConversationId(uuid7())
    moment = now(session)
    title = " ".join(question.split())
    session.execute(
        insert(ConversationRow).values(
            tenant=tenant,
            id=conversation,
            owner=owner,
            title=title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1] + "…",
            created_at=moment,
            updated_at=moment,
        )
    )
    return conversation


def get_conversation(session: Session, tenant: TenantId, *, owner: str, conversation: ConversationId) -> Conversation:
    """Return the conversation.

    :raises NotFound: there is none, or it is somebody else's.
    """
    row = session.get(ConversationRow, (tenant, conversation))
    if row is None or row.owner != owner:
        raise NotFound("There is no such conversation.")
    return _conversation(row)


def list_conversations(session: Session, tenant: TenantId, *, owner: str, limit: int) -> list[Conversation]:
    """Return the owner's conversations, the one last spoken in first."""
    rows = session.scalars(
        select(ConversationRow)
        .where(ConversationRow.tenant == tenant, ConversationRow.owner == owner)
        .order_by(ConversationRow.updated_at.desc(), ConversationRow.id.desc())
        .limit(limit)
    )
    return [_conversation(row) for row in rows]


def _owners(users: Collection[str]) -> list[str]:
    """Return what `owner_of` makes of users of these names, suspended or not."""
    return [owner + user for user in users for owner in (USER, _NOBODY)]


def _conversation(row: ConversationRow) -> Conversation:
    return Conversation(
        id=ConversationId(row.id),
        tenant=TenantId(row.tenant),
        owner=row.owner,
        title=row.title,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
