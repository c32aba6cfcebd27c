"""What the catalogue says of an index's points, and what an index should hold: the two sides of an audit.

Every call reads afresh and looks at one batch, so that an audit of any size needs the memory of a batch.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, select
from sqlalchemy.orm import Session, aliased

from core.db.failures import live_index
from core.db.tables import ChunkRow, DocumentRow, IndexTaskRow, StageRow, TenantRow, VersionRow
from core.db.turns import OPEN
from core.domain import StageName
from core.ids import ChunkId, DocumentId, IndexId, TenantId, VersionId

Place = tuple[TenantId, DocumentId, VersionId, ChunkId]
Standing = Literal["right", "changing", "stray", "unknown"]

# A version of which one of these failed goes no further, whatever waits for it.
_BEFORE_INDEX = (StageName.PARSE.value, StageName.CHUNK.value, StageName.EMBED.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Searchable:
    """A document that readers see, and how many points its current version must have.

    `stage` is the state of the version's stage of the index, None where it has none. `stuck`: a stage before it failed.
    """

    tenant: TenantId
    document: DocumentId
    version: VersionId
    chunks: int
    stage: str | None
    stuck: bool = False

    @property
    def changing(self) -> bool:
        """Whether the version is being indexed (again): what the index holds of it says nothing now."""
        return self.stage in OPEN and not self.stuck


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that a version needs: its bytes as uploaded, or its parse result."""

    tenant: TenantId
    document: DocumentId
    version: VersionId
    kind: Literal["original", "parsed"]
    hash: str


def standings(session: Session, index_id: IndexId, places: Iterable[Place]) -> dict[Place, Standing]:
    """Return for each point whether it belongs where it is.

    `right`: its chunk is of a document's current version. `changing`: its version is being indexed, or its removal is
    queued already. `stray`: nobody needs it and nobody is about to remove it. `unknown`: the same, of a document that
    was never here; one that was deleted is known for ever.
    """
    found: dict[Place, Standing] = {}
    by_tenant: dict[TenantId, list[Place]] = {}
    for place in places:
        by_tenant.setdefault(place[0], []).append(place)
    for tenant, ours in by_tenant.items():
        found.update(_standings(session, index_id, tenant, ours))
    return found


def _standings(session: Session, index_id: IndexId, tenant: TenantId, places: Sequence[Place]) -> dict[Place, Standing]:
    documents = {place[1] for place in places}
    versions = {place[2] for place in places}
    current = {
        row.id: None if row.deleted_at is not None else row.current_version
        for row in session.execute(
            select(DocumentRow.id, DocumentRow.deleted_at, DocumentRow.current_version).where(
                DocumentRow.tenant == tenant, DocumentRow.id.in_(documents)
            )
        )
    }
    chunks = {
        (row.document_id, row.version_id, row.id)
        for row in session.execute(
            select(ChunkRow.document_id, ChunkRow.version_id, ChunkRow.id).where(
                ChunkRow.tenant == tenant, ChunkRow.id.in_({place[3] for place in places})
            )
        )
    }
    indexing = set(
        session.scalars(
            select(StageRow.version_id).where(
                _index_stage(index_id),
                StageRow.tenant == tenant,
                StageRow.version_id.in_(versions),
                StageRow.state.in_(OPEN),
            )
        )
    ) - _stuck(session, tenant, versions)
    leaving = {
        (row.document_id, row.version_id)
        for row in session.execute(
            select(IndexTaskRow.document_id, IndexTaskRow.version_id).where(
                IndexTaskRow.tenant == tenant,
                IndexTaskRow.document_id.in_(documents),
                IndexTaskRow.kind.in_(("purge_document", "purge_version")),
                IndexTaskRow.done_at.is_(None),
            )
        )
    }

    def standing(document: DocumentId, version: VersionId, chunk: ChunkId) -> Standing:
        if current.get(document) == version and (document, version, chunk) in chunks:
            return "right"
        if version in indexing or not leaving.isdisjoint({(document, None), (document, version)}):
            return "changing"
        return "stray" if document in current else "unknown"

    return {place: standing(*place[1:]) for place in places}


def accesses_queued(session: Session, tenant: TenantId, documents: Collection[DocumentId]) -> set[DocumentId]:
    """Return those documents whose access payload is about to be written anyway."""
    rows = session.scalars(
        select(IndexTaskRow.document_id).where(
            IndexTaskRow.tenant == tenant,
            IndexTaskRow.document_id.in_(documents),
            IndexTaskRow.kind == "access",
            IndexTaskRow.done_at.is_(None),
        )
    )
    return {DocumentId(row) for row in rows}


def tenants_of(session: Session) -> list[TenantId]:
    """Return every tenant, in the order in which audits go through them."""
    return [TenantId(row) for row in session.scalars(select(TenantRow.id).order_by(TenantRow.id))]


def searchable_after(
    session: Session, index_id: IndexId, tenant: TenantId, after: DocumentId | None, limit: int
) -> list[Searchable]:
    """Return the next documents of the tenant that readers see, by id, with what the index should hold of each."""
    shown = select(DocumentRow.id, DocumentRow.current_version).where(
        DocumentRow.tenant == tenant, DocumentRow.deleted_at.is_(None), DocumentRow.current_version.is_not(None)
    )
    if after is not None:
        shown = shown.where(DocumentRow.id > after)
    rows = session.execute(shown.order_by(DocumentRow.id).limit(limit)).all()
    return _searchable(session, index_id, tenant, rows)


def searchable_among(
    session: Session, index_id: IndexId, tenant: TenantId, documents: Collection[DocumentId]
) -> list[Searchable]:
    """Return those of the documents that readers see, as they are now."""
    rows = session.execute(
        select(DocumentRow.id, DocumentRow.current_version).where(
            DocumentRow.tenant == tenant,
            DocumentRow.id.in_(documents),
            DocumentRow.deleted_at.is_(None),
            DocumentRow.current_version.is_not(None),
        )
    ).all()
    return _searchable(session, index_id, tenant, rows)


def last_indexed(session: Session, index_id: IndexId, limit: int) -> list[tuple[TenantId, DocumentId]]:
    """Return the documents that came into the index last: those that an older copy of it lacks."""
    rows = session.execute(
        select(StageRow.tenant, StageRow.document_id)
        .where(_index_stage(index_id), StageRow.state == "done")
        .order_by(StageRow.finished_at.desc())
        .limit(limit)
    )
    return [(TenantId(row.tenant), DocumentId(row.document_id)) for row in rows]


def expects_points(session: Session, index_id: IndexId) -> bool:
    """Return whether the index should hold anything: readers see a document whose indexing is done."""
    shown = exists().where(
        DocumentRow.deleted_at.is_(None),
        ChunkRow.tenant == DocumentRow.tenant,
        ChunkRow.version_id == DocumentRow.current_version,
        StageRow.tenant == DocumentRow.tenant,
        StageRow.version_id == DocumentRow.current_version,
        _index_stage(index_id),
        StageRow.state == "done",
    )
    return session.execute(select(shown)).scalar_one()


def being_refilled(session: Session) -> int:
    """Return how many documents that readers should see are being put back into the live index."""
    return session.execute(_REFILLED).scalar_one()


def files_after(
    session: Session, tenant: TenantId, after: VersionId | None, limit: int
) -> tuple[list[StoredFile], VersionId | None]:
    """Return the files of the tenant's next versions, by id, deleted documents left out, and where to go on."""
    needed = (
        select(VersionRow.id, VersionRow.document_id, VersionRow.blob_hash, VersionRow.parsed_hash)
        .join(DocumentRow, and_(DocumentRow.tenant == VersionRow.tenant, DocumentRow.id == VersionRow.document_id))
        .where(VersionRow.tenant == tenant, DocumentRow.deleted_at.is_(None))
    )
    if after is not None:
        needed = needed.where(VersionRow.id > after)
    rows = session.execute(needed.order_by(VersionRow.id).limit(limit)).all()
    files = [file for row in rows for file in _files(tenant, row)]
    return files, VersionId(rows[-1].id) if len(rows) == limit else None


def still_needed(session: Session, file: StoredFile) -> bool:
    """Return whether the file is (still) one that a version of a document needs."""
    column = VersionRow.blob_hash if file.kind == "original" else VersionRow.parsed_hash
    needed = exists().where(
        VersionRow.tenant == file.tenant,
        VersionRow.id == file.version,
        column == file.hash,
        DocumentRow.tenant == file.tenant,
        DocumentRow.id == VersionRow.document_id,
        DocumentRow.deleted_at.is_(None),
    )
    return session.execute(select(needed)).scalar_one()


def _files(tenant: TenantId, row: Any) -> list[StoredFile]:  # noqa: ANN401 - a row of the statement above
    document, version = DocumentId(row.document_id), VersionId(row.id)
    hashes: dict[Literal["original", "parsed"], str | None] = {"original": row.blob_hash, "parsed": row.parsed_hash}
    return [
        StoredFile(tenant=tenant, document=document, version=version, kind=kind, hash=hash_)
        for kind, hash_ in hashes.items()
        if hash_ is not None
    ]


def _searchable(session: Session, index_id: IndexId, tenant: TenantId, rows: Sequence[Any]) -> list[Searchable]:
    versions = [row.current_version for row in rows]
    counted = select(ChunkRow.version_id, func.count().label("chunks")).where(
        ChunkRow.tenant == tenant, ChunkRow.version_id.in_(versions)
    )
    chunks = {row.version_id: row.chunks for row in session.execute(counted.group_by(ChunkRow.version_id))}
    stages = {
        row.version_id: row.state
        for row in session.execute(
            select(StageRow.version_id, StageRow.state).where(
                _index_stage(index_id), StageRow.tenant == tenant, StageRow.version_id.in_(versions)
            )
        )
    }
    stuck = _stuck(session, tenant, versions)
    return [
        Searchable(
            tenant=tenant,
            document=DocumentId(row.id),
            version=VersionId(row.current_version),
            chunks=chunks.get(row.current_version, 0),
            stage=stages.get(row.current_version),
            stuck=row.current_version in stuck,
        )
        for row in rows
    ]


def _stuck(session: Session, tenant: TenantId, versions: Collection[UUID]) -> set[UUID]:
    """Return those of the versions of which a stage before the index has failed."""
    failed = select(StageRow.version_id).where(
        StageRow.tenant == tenant,
        StageRow.version_id.in_(versions),
        StageRow.name.in_(_BEFORE_INDEX),
        StageRow.state == "failed",
    )
    return set(session.scalars(failed))


def _refilled() -> Select[int]:
    """Return the statement that counts what is being put back: it reads the index of that, and nothing else is long."""
    failed = aliased(StageRow)
    document = and_(
        DocumentRow.tenant == StageRow.tenant,
        DocumentRow.id == StageRow.document_id,
        DocumentRow.current_version == StageRow.version_id,
    )
    stuck = exists().where(
        failed.tenant == StageRow.tenant,
        failed.version_id == StageRow.version_id,
        failed.name.in_(_BEFORE_INDEX),
        failed.state == "failed",
    )
    return (
        select(func.count())
        .select_from(StageRow)
        .join(DocumentRow, document)
        .where(
            StageRow.refilled_at.is_not(None),
            StageRow.index_id == live_index(),
            StageRow.name == StageName.INDEX.value,
            StageRow.state.in_(OPEN),
            DocumentRow.deleted_at.is_(None),
            ~stuck,
        )
    )


_REFILLED = _refilled()


def _index_stage(index_id: IndexId) -> ColumnElement[bool]:
    return and_(StageRow.name == StageName.INDEX.value, StageRow.index_id == index_id)
