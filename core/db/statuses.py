"""What became of each document: the one answer of upload, status and listing."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, exists, select
from sqlalchemy.orm import Session

from core.db.access import visible
from core.db.failures import counts_as_failed, is_searchable
from core.db.paging import BATCH, seen_page
from core.db.tables import DocumentRow, SourceRow, StageRow, VersionRow
from core.domain import DocumentState, Principal, Reason, StageName
from core.ids import DocumentId, TenantId, VersionId
from core.reasons import explain

PROGRESSIVE = {StageName.EMBED.value: "embedding", StageName.INDEX.value: "indexing"}
_ORDER = {name.value: place for place, name in enumerate(StageName)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentStatus:
    """What became of a document. `state` is its newest version's; readers meanwhile see `searchable_version`.

    `stage` is the one that failed, or that is next or at work; None when there is nothing to do. `detail` is a
    sentence for the uploader: why it failed, or how far it has come. `pages` and `chunks` are None until they are
    known.
    """

    document: DocumentId
    name: str
    source: str
    parent: DocumentId | None
    state: DocumentState
    stage: StageName | None
    reason: Reason | None
    detail: str | None
    pages: int | None
    pages_lost: tuple[int, ...]
    chunks: int | None
    version: VersionId | None
    searchable_version: VersionId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """The JSON of ingest and status: documents, and how many of them are in each state."""

    documents: tuple[DocumentStatus, ...]
    totals: Mapping[DocumentState, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """Some documents, the newest first, and the cursor of those after them; None at the end."""

    documents: tuple[DocumentStatus, ...]
    next: str | None


Visible = Callable[[Session, Sequence[DocumentId]], AbstractSet[DocumentId]]


def report(statuses: Iterable[DocumentStatus]) -> StatusReport:
    """Return the statuses with their totals."""
    documents = tuple(statuses)
    counts = Counter(status.state for status in documents)
    return StatusReport(documents=documents, totals={state: counts[state] for state in DocumentState if counts[state]})


def status(session: Session, tenant: TenantId, documents: Collection[DocumentId]) -> list[DocumentStatus]:
    """Return what became of each of the documents, in their order; unknown ones are left out. It checks no access."""
    wanted = list(dict.fromkeys(documents))
    found: dict[DocumentId, DocumentStatus] = {}
    for start in range(0, len(wanted), BATCH):
        found.update(_load(session, tenant, wanted[start : start + BATCH]))
    return [found[document] for document in wanted if document in found]


def list_statuses(
    session: Session,
    tenant: TenantId,
    *,
    visible: Visible,
    state: DocumentState | None = None,
    source: str | None = None,
    name: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> StatusPage:
    """Return a page of the documents for which `visible` holds, the newest first.

    Documents that come or go between two pages neither repeat nor hide others. Deleted ones are listed only when
    asked for by state. Raises `InvalidInput` for a cursor or limit that is none.
    """
    chosen, following = seen_page(
        session,
        lambda after: _next_ids(session, tenant, state, source, name, after),
        lambda some: visible(session, some),
        cursor=cursor,
        limit=limit,
    )
    return StatusPage(documents=tuple(status(session, tenant, chosen)), next=following)


def list_readable(
    session: Session,
    principal: Principal,
    *,
    state: DocumentState | None = None,
    source: str | None = None,
    name: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> StatusPage:
    """`list_statuses` of what the principal may read and what it uploaded."""
    return list_statuses(
        session,
        principal.tenant,
        visible=lambda session, documents: visible(session, principal, documents),
        state=state,
        source=source,
        name=name,
        cursor=cursor,
        limit=limit,
    )


def readable_totals(
    session: Session, principal: Principal, *, source: str | None = None, name: str | None = None
) -> dict[DocumentState, int]:
    """Return how many documents that the principal may know of are in each state; it looks at every document once."""
    totals: Counter[DocumentState] = Counter()
    after: DocumentId | None = None
    while some := _next_ids(session, principal.tenant, None, source, name, after):
        after = some[-1]
        seen = visible(session, principal, some)
        states = select(STATE).where(
            DocumentRow.tenant == principal.tenant, DocumentRow.id.in_([one for one in some if one in seen])
        )
        totals.update(DocumentState(state) for state in session.scalars(states))
    return {state: totals[state] for state in DocumentState if totals[state]}


def _newest_has(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        StageRow.tenant == DocumentRow.tenant, StageRow.version_id == DocumentRow.newest_version, *conditions
    )


# The one definition of a document's state. A version is made current only when its last stage is done; a stage that is
# open after that belongs to an index that does not serve, or the serving one has lost points and is being refilled:
# then the document may not be found, and is not called searchable.
STATE = case(
    (DocumentRow.deleted_at.is_not(None), DocumentState.DELETED.value),
    (is_searchable(), DocumentState.SEARCHABLE.value),
    (_newest_has(counts_as_failed()), DocumentState.FAILED.value),
    (_newest_has(StageRow.state == "leased"), DocumentState.LEASED.value),
    else_=DocumentState.QUEUED.value,
)


def _load(session: Session, tenant: TenantId, documents: Sequence[DocumentId]) -> dict[DocumentId, DocumentStatus]:
    rows = session.execute(
        select(
            DocumentRow.id,
            DocumentRow.name,
            SourceRow.name.label("source"),
            DocumentRow.parent_id,
            STATE.label("state"),
            VersionRow.page_count,
            VersionRow.pages_lost,
            VersionRow.chunk_count,
            DocumentRow.newest_version,
            DocumentRow.current_version,
        )
        .join(SourceRow, and_(SourceRow.tenant == DocumentRow.tenant, SourceRow.id == DocumentRow.source_id))
        .outerjoin(
            VersionRow, and_(VersionRow.tenant == DocumentRow.tenant, VersionRow.id == DocumentRow.newest_version)
        )
        .where(DocumentRow.tenant == tenant, DocumentRow.id.in_(documents))
    ).all()
    stages = _stages(session, tenant, [row.newest_version for row in rows if row.newest_version is not None])
    found: dict[DocumentId, DocumentStatus] = {}
    for row in rows:
        state = DocumentState(row.state)
        stage = _told(state, stages.get(row.newest_version, []))
        reason = Reason(stage.reason) if stage is not None and stage.failed and stage.reason else None
        seen = None if stage is None else _progress(stage, row.chunk_count) or stage.detail
        found[DocumentId(row.id)] = DocumentStatus(
            document=DocumentId(row.id),
            name=row.name,
            source=row.source,
            parent=None if row.parent_id is None else DocumentId(row.parent_id),
            state=state,
            stage=None if stage is None else StageName(stage.name),
            reason=reason,
            detail=seen if reason is None else explain(reason, seen),
            pages=row.page_count,
            pages_lost=tuple(row.pages_lost or ()),
            chunks=row.chunk_count,
            version=row.newest_version,
            searchable_version=None if state is DocumentState.DELETED else row.current_version,
        )
    return found


@dataclass(frozen=True, slots=True)
class _Stage:
    name: str
    state: str
    reason: str | None
    detail: str | None
    progress: float | None

    @property
    def failed(self) -> bool:
        return self.state == "failed"


def _stages(session: Session, tenant: TenantId, versions: Sequence[UUID]) -> dict[UUID, list[_Stage]]:
    rows = session.execute(
        select(
            StageRow.version_id, StageRow.name, StageRow.state, StageRow.reason, StageRow.detail, StageRow.progress
        ).where(StageRow.tenant == tenant, StageRow.version_id.in_(versions))
    )
    found: dict[UUID, list[_Stage]] = {}
    for version, name, state, reason, detail, progress in rows:
        found.setdefault(version, []).append(_Stage(name, state, reason, detail, progress))
    return {version: sorted(stages, key=lambda stage: _ORDER[stage.name]) for version, stages in found.items()}


def _progress(stage: _Stage, chunks: int | None) -> str | None:
    """Return how far the work on a leased stage has come, None where nobody told."""
    if stage.state != "leased" or stage.progress is None:
        return None
    if stage.name in PROGRESSIVE and chunks:
        return f"{PROGRESSIVE[stage.name]} {round(stage.progress * chunks)} of {chunks} passages"
    return f"{round(stage.progress * 100)} % done"


def _told(state: DocumentState, stages: Sequence[_Stage]) -> _Stage | None:
    wanted = {
        DocumentState.FAILED: ("failed",),
        DocumentState.LEASED: ("leased",),
        DocumentState.QUEUED: ("queued", "waiting"),
    }.get(state, ())
    return next((stage for stage in stages if stage.state in wanted), None)


def _next_ids(
    session: Session,
    tenant: TenantId,
    state: DocumentState | None,
    source: str | None,
    name: str | None,
    after: DocumentId | None,
) -> list[DocumentId]:
    statement = select(DocumentRow.id).where(DocumentRow.tenant == tenant)
    if state is DocumentState.DELETED:
        statement = statement.where(DocumentRow.deleted_at.is_not(None))
    else:
        statement = statement.where(DocumentRow.deleted_at.is_(None))
        if state is not None:
            statement = statement.where(STATE.in_([state.value]))
    if source is not None:
        sources = select(SourceRow.id).where(SourceRow.tenant == tenant, SourceRow.name == source)
        statement = statement.where(DocumentRow.source_id.in_(sources))
    if name is not None:
        statement = statement.where(DocumentRow.name == name)
    if after is not None:
        statement = statement.where(DocumentRow.id < after)
    return [DocumentId(found) for found in session.scalars(statement.order_by(DocumentRow.id.desc()).limit(BATCH))]
