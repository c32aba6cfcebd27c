"""Dead letters: documents whose way in ended with a failure, with what is known of it, until somebody replays them.

A dead letter is a failed stage of the newest version of a document that is not deleted: what failed of a version that
was replaced since, or of a deleted document, can no longer be mended and is none (`core.db.failures`). It goes by its
document's id, and whoever may know of the document may know of it. To replay it takes the right to change the document.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, select
from sqlalchemy.orm import Session

from core.db.accepting import queue_all_failed
from core.db.access import visible, writable
from core.db.failures import OF_NEWEST, counts_as_failed
from core.db.paging import BATCH, cursor_after, read_cursor, seen_page
from core.db.session import Database
from core.db.tables import DocumentRow, SourceRow, StageRow
from core.domain import Principal, Reason, StageName
from core.errors import NotFound
from core.ids import DocumentId, TenantId, VersionId
from core.reasons import explain

REPLAYED_AT_ONCE = 100  # Documents of one transaction: on SQLite nobody else writes meanwhile.
MOST_BATCHES = 50  # Of one call: whoever replays more is told where to go on.

_ORDER = {name.value: place for place, name in enumerate(StageName)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A document that failed, and why.

    `detail` is a sentence for the uploader: what to do, and what was seen of this very file. `page` is the one at
    fault, from 1, where a single one is. `excerpt` tells where in the program it happened. `failed_at` is in UTC
    microseconds. `version` is the one that failed; readers meanwhile see `searchable_version`.
    """

    document: DocumentId
    name: str
    source: str
    version: VersionId
    searchable_version: VersionId | None
    stage: StageName
    reason: Reason
    detail: str
    page: int | None
    excerpt: str | None
    attempts: int
    failed_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage:
    """Some dead letters, those of the newest documents first, and the cursor of what comes after; None at the end."""

    deadletters: tuple[DeadLetter, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which dead letters are meant; None does not narrow. `since`: failed then or later, in UTC microseconds."""

    reason: Reason | None = None
    stage: StageName | None = None
    source: str | None = None
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How many documents were replayed, how many the caller sees but may not change, and where to go on, if at all."""

    replayed: int
    left: int
    next: str | None


ALL = DeadLetterFilter()


def list_readable(
    session: Session, principal: Principal, wanted: DeadLetterFilter = ALL, *, cursor: str | None = None, limit: int
) -> DeadLetterPage:
    """Return a page of the dead letters of documents that the principal may read or has uploaded.

    Raises `InvalidInput` for a cursor or limit that is none.
    """
    tenant = principal.tenant
    chosen, following = seen_page(
        session,
        lambda after: _next_ids(session, tenant, wanted, after, BATCH),
        lambda some: visible(session, principal, some),
        cursor=cursor,
        limit=limit,
    )
    return DeadLetterPage(deadletters=tuple(_load(session, tenant, wanted, chosen)), next=following)


def show(session: Session, principal: Principal, document: DocumentId) -> DeadLetter:
    """Return what failed of the document. Raises `NotFound`: nothing, or nothing that the principal may know of."""
    found = _load(session, principal.tenant, ALL, [document])
    if not found or document not in visible(session, principal, [document]):
        raise NotFound("There is no such dead letter.")
    return found[0]


def replay(session: Session, principal: Principal, document: DocumentId) -> Replayed:
    """Queue again what failed of the document, with its attempts forgotten. Doing it twice is doing it once.

    :raises NotFound: there is no such document, or the principal may not change it.
    """
    if document not in writable(session, principal, [document]):
        raise NotFound("There is no such dead letter.")
    return Replayed(replayed=_replay(session, principal.tenant, [document]), left=0, next=None)


def replay_matching(
    database: Database,
    principal_in: Callable[[Session], Principal],
    wanted: DeadLetterFilter,
    *,
    cursor: str | None = None,
    batches: int = MOST_BATCHES,
) -> Replayed:
    """Replay the dead letters that match, batch by batch, each in a transaction of its own.

    Rights are judged in each of them: `principal_in` reads whom the caller is then. Every document is looked at once,
    from the newest to the oldest, so that one that fails again at once is not replayed for ever. Where it is broken
    off, what was replayed stays replayed, and the next call does the rest. After `batches` it ends with a cursor.
    """
    replayed = left = 0
    for _ in range(batches):
        with database.transaction() as session:
            done = _replay_batch(session, principal_in(session), wanted, cursor)
        replayed, left, cursor = replayed + done.replayed, left + done.left, done.next
        if cursor is None:
            break
    return Replayed(replayed=replayed, left=left, next=cursor)


def _replay_batch(session: Session, principal: Principal, wanted: DeadLetterFilter, cursor: str | None) -> Replayed:
    some = _next_ids(session, principal.tenant, wanted, read_cursor(session, cursor), REPLAYED_AT_ONCE)
    ours = writable(session, principal, some)
    others = visible(session, principal, [document for document in some if document not in ours])
    return Replayed(
        replayed=_replay(session, principal.tenant, [document for document in some if document in ours]),
        left=len(others),
        next=cursor_after(session, some[-1]) if len(some) == REPLAYED_AT_ONCE else None,
    )


def _replay(session: Session, tenant: TenantId, documents: Sequence[DocumentId]) -> int:
    # Locked before their stages, as deleting and indexing lock them; whoever replays the same waits, and finds nothing.
    versions = session.scalars(
        select(DocumentRow.newest_version)
        .where(DocumentRow.tenant == tenant, DocumentRow.id.in_(documents), DocumentRow.deleted_at.is_(None))
        .order_by(DocumentRow.id)
        .with_for_update()
    ).all()
    return len(queue_all_failed(session, tenant, [VersionId(version) for version in versions if version is not None]))


def _failed(tenant: TenantId, wanted: DeadLetterFilter) -> ColumnElement[bool]:
    """Return the condition that a stage, joined with its document, is a dead letter that is wanted."""
    conditions = [StageRow.tenant == tenant, counts_as_failed()]
    if wanted.reason is not None:
        conditions.append(StageRow.reason == wanted.reason.value)
    if wanted.stage is not None:
        conditions.append(StageRow.name == wanted.stage.value)
    if wanted.since is not None:
        conditions.append(StageRow.finished_at >= wanted.since)
    if wanted.source is not None:
        sources = select(SourceRow.id).where(SourceRow.tenant == tenant, SourceRow.name == wanted.source)
        conditions.append(DocumentRow.source_id.in_(sources))
    return and_(*conditions)


def _next_ids(
    session: Session, tenant: TenantId, wanted: DeadLetterFilter, after: DocumentId | None, limit: int
) -> list[DocumentId]:
    return [DocumentId(found) for found in session.scalars(_ids_statement(tenant, wanted, after, limit))]


def _ids_statement(tenant: TenantId, wanted: DeadLetterFilter, after: DocumentId | None, limit: int) -> Select[UUID]:
    statement = select(StageRow.document_id).distinct().join(DocumentRow, OF_NEWEST).where(_failed(tenant, wanted))
    if after is not None:
        statement = statement.where(StageRow.document_id < after)
    return statement.order_by(StageRow.document_id.desc()).limit(limit)


def _load(
    session: Session, tenant: TenantId, wanted: DeadLetterFilter, documents: Sequence[DocumentId]
) -> list[DeadLetter]:
    """Return the dead letters of the documents in their order; of several failed stages the first one is told."""
    rows = session.execute(
        select(
            StageRow.document_id,
            DocumentRow.name,
            SourceRow.name.label("source"),
            StageRow.version_id,
            DocumentRow.current_version,
            StageRow.name.label("stage"),
            StageRow.reason,
            StageRow.detail,
            StageRow.page,
            StageRow.excerpt,
            StageRow.attempt,
            StageRow.finished_at,
        )
        .join(DocumentRow, OF_NEWEST)
        .join(SourceRow, and_(SourceRow.tenant == DocumentRow.tenant, SourceRow.id == DocumentRow.source_id))
        .where(_failed(tenant, wanted), StageRow.document_id.in_(documents))
    ).all()
    found: dict[UUID, DeadLetter] = {}
    for row in sorted(rows, key=lambda row: _ORDER[row.stage]):
        reason = Reason(row.reason or Reason.INTERNAL)
        letter = DeadLetter(
            document=DocumentId(row.document_id),
            name=row.name,
            source=row.source,
            version=VersionId(row.version_id),
            searchable_version=None if row.current_version is None else VersionId(row.current_version),
            stage=StageName(row.stage),
            reason=reason,
            detail=explain(reason, row.detail),
            page=row.page,
            excerpt=row.excerpt,
            attempts=row.attempt,
            failed_at=row.finished_at or 0,
        )
        found.setdefault(row.document_id, letter)
    return [found[document] for document in documents if document in found]
