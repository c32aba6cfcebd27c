"""What the edges ask of the catalogue besides: sources by name, a version's files, counts of what is open."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from sqlalchemy import delete, func, or_, select
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from core.db.base import db_now
from core.db.clock import SECOND, now
from core.db.statuses import STATE
from core.db.tables import (
    ApiKeyRow,
    AuditRow,
    ConversationRow,
    DocumentRow,
    IndexTaskRow,
    SourceRow,
    UserRow,
    VersionRow,
)
from core.domain import DocumentState
from core.errors import NotFound
from core.ids import ConversationId, DocumentId, TenantId, VersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """A version that readers see or saw: the blobs of its file and of its parse result."""

    version: VersionId
    blob_hash: str
    parsed_hash: str
    media_type: str | None
    page_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskBacklog:
    """Open index tasks, over all tenants, and the age of the oldest in seconds."""

    count: int
    oldest_seconds: float


def find_source(session: Session, tenant: TenantId, name: str) -> UUID:
    """Return the id of the source of this name. Raises `NotFound`."""
    found = session.scalars(select(SourceRow.id).where(SourceRow.tenant == tenant, SourceRow.name == name))
    source = found.one_or_none()
    if source is None:
        raise NotFound("There is no such source.")
    return source


def source_names(session: Session, tenant: TenantId, sources: Collection[UUID]) -> Mapping[UUID, str]:
    """Return the names of the sources; unknown ones are left out."""
    ours = SourceRow.tenant == tenant, SourceRow.id.in_(list(sources))
    found = session.execute(select(SourceRow.id, SourceRow.name).where(*ours))
    return {row.id: row.name for row in found}


def version_files(
    session: Session, tenant: TenantId, document: DocumentId, version: VersionId | None = None
) -> VersionFiles:
    """Return the files of the version, by default the current one. It checks no access.

    A stored citation may name an older version, whose files stay as long as the document; a newer one, which is still
    on its way in, is not shown. Raises `NotFound`.
    """
    current = (
        select(VersionRow.ordinal)
        .join(DocumentRow, (DocumentRow.tenant == VersionRow.tenant) & (DocumentRow.current_version == VersionRow.id))
        .where(DocumentRow.tenant == tenant, DocumentRow.id == document, DocumentRow.deleted_at.is_(None))
        .scalar_subquery()
    )
    statement = select(
        VersionRow.id, VersionRow.blob_hash, VersionRow.parsed_hash, VersionRow.media_type, VersionRow.page_count
    ).where(
        VersionRow.tenant == tenant,
        VersionRow.document_id == document,
        VersionRow.parsed_hash.is_not(None),
        VersionRow.ordinal == current if version is None else VersionRow.ordinal <= current,
    )
    if version is not None:
        statement = statement.where(VersionRow.id == version)
    row = session.execute(statement).one_or_none()
    if row is None:
        raise NotFound("There is no such version.")
    return VersionFiles(
        version=VersionId(row.id),
        blob_hash=row.blob_hash,
        parsed_hash=row.parsed_hash,
        media_type=row.media_type,
        page_count=row.page_count,
    )


def key_opens(session: Session, tenant: TenantId, key: UUID) -> bool:
    """Return whether the key still opens anything: not revoked, not expired, its user not suspended."""
    row = ApiKeyRow
    opens = (
        select(row.id)
        .join(UserRow, (UserRow.tenant == row.tenant) & (UserRow.name == row.user_name))
        .where(
            row.tenant == tenant,
            row.id == key,
            UserRow.suspended.is_(False),
            row.revoked_at.is_(None),
            or_(row.expires_at.is_(None), row.expires_at > db_now()),
        )
    )
    return session.scalars(opens).one_or_none() is not None


def deleted_by(session: Session, tenant: TenantId, document: DocumentId) -> str | None:
    """Return the actor that deleted the document, as the audit has it; None if nobody did."""
    row = AuditRow
    return session.scalars(
        select(row.actor)
        .where(row.tenant == tenant, row.action == "document.delete", row.target == str(document))
        .limit(1)
    ).one_or_none()


def delete_conversation(session: Session, tenant: TenantId, *, owner: str, conversation: ConversationId) -> None:
    """Remove the conversation with its answers. Raises `NotFound` if there is none, or it is somebody else's."""
    row = ConversationRow
    removed = session.execute(
        delete(row)
        .where(row.tenant == tenant, row.id == conversation, row.owner == owner)
        .execution_options(synchronize_session=False)
    )
    if cast("CursorResult[None]", removed).rowcount == 0:
        raise NotFound("There is no such conversation.")


def document_counts(session: Session) -> dict[DocumentState, int]:
    """Return how many documents are in each state, over all tenants: for the operator."""
    counted = select(STATE.label("state"), func.count()).group_by("state")
    found = {DocumentState(state): count for state, count in session.execute(counted)}
    return {state: found.get(state, 0) for state in DocumentState}


def task_backlog(session: Session) -> TaskBacklog:
    """Return what the indexes still have to be told."""
    row = IndexTaskRow
    count, oldest = session.execute(select(func.count(), func.min(row.created_at)).where(row.done_at.is_(None))).one()
    return TaskBacklog(count=count, oldest_seconds=0.0 if oldest is None else max(0, now(session) - oldest) / SECOND)
