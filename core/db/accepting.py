"""Documents on their way in: accepted in one transaction. What is accepted is kept."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

from sqlalchemy import Row, and_, insert, select, update
from sqlalchemy.orm import Session

from core.access import Entry
from core.db.access import add_entries
from core.db.base import db_now
from core.db.blobs import add_references
from core.db.clock import now
from core.db.inserting import insert_missing
from core.db.releases import written_indexes
from core.db.tables import DocumentRow, SourceRow, StageRow, VersionRow
from core.db.wakeups import announce
from core.domain import StageName
from core.errors import Conflict, Forbidden, NotFound
from core.ids import DocumentId, StageId, TenantId, VersionId, uuid7
from core.names import folder_of

# What a stage that is queued anew has forgotten of the attempts before.
UNTRIED: Mapping[str, None] = dict.fromkeys(("reason", "detail", "page", "excerpt", "started_at", "finished_at"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Bytes that are stored already, and what they are to be called. `source` None: a new one of their own.

    `name` and `source` are in the form of `core.names`, `uploader` and the entries are principals.
    """

    source: str | None
    name: str
    blob_hash: str
    size: int
    uploader: str
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    parent: DocumentId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The document and its newest version. `created`: this call made the version; `retried`: it queued it again."""

    document: DocumentId
    version: VersionId
    created: bool
    retried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the uploader may do with a document that has the name already; asked only then."""

    see: Callable[[DocumentId], bool]
    write: Callable[[DocumentId], bool]


def accept(session: Session, tenant: TenantId, upload: Upload, *, rights: Rights) -> Accepted:
    """Take the upload in: document, version, stages, wake-up and blob reference, all in the caller's transaction.

    Same source, name and bytes: nothing happens and the document is returned, except that a failed one is tried again.
    Other bytes: a new version; access stays as it is.

    :raises Conflict: the name is taken by a document that the uploader may not know; one message whatever its bytes.
    :raises Forbidden: the uploader may read that document but not replace it.
    :raises NotFound: there is no such parent (any more).
    """
    source = _lock_source(session, tenant, upload.source)
    found = _find(session, tenant, source, upload.name)
    if found is None:
        document = _create(session, tenant, source, upload)
        ordinal = 1
    else:
        document = DocumentId(found.id)
        writable = rights.write(document)
        if not writable and not rights.see(document):
            _refuse_name()
        if found.blob_hash == upload.blob_hash:
            retried = writable and queue_failed(session, tenant, VersionId(found.newest_version))
            return Accepted(document=document, version=VersionId(found.newest_version), created=False, retried=retried)
        if not writable:
            raise Forbidden("You may read the document of this name, but not replace it.")
        ordinal = found.ordinal + 1
    version = _add_version(session, tenant, document, ordinal, upload.blob_hash, upload.size)
    add_references(session, tenant, {upload.blob_hash: upload.size})
    _add_stages(session, tenant, document, version, upload.blob_hash)
    return Accepted(document=document, version=version, created=True)


def queue_failed(session: Session, tenant: TenantId, version: VersionId) -> bool:
    """Queue the failed stages of a version that has bytes again, attempts forgotten; False if none had failed."""
    return bool(queue_all_failed(session, tenant, [version]))


def queue_all_failed(session: Session, tenant: TenantId, versions: Collection[VersionId]) -> frozenset[VersionId]:
    """`queue_failed` for many versions at once; returns those of which something had failed.

    What is done stays done: only the failed stages run again, as if they had never been tried.
    """
    failed = and_(StageRow.tenant == tenant, StageRow.version_id.in_(versions), StageRow.state == "failed")
    rows = session.execute(
        select(StageRow.id, StageRow.name, StageRow.version_id).where(failed).order_by(StageRow.id).with_for_update()
    ).all()
    if not rows:
        return frozenset()
    moment = now(session)
    session.execute(
        update(StageRow)
        .where(StageRow.tenant == tenant, StageRow.id.in_([row.id for row in rows]))
        .values(state="queued", attempt=0, child_deaths=0, ready_at=moment, **UNTRIED)
        .execution_options(synchronize_session=False)
    )
    announce(session, [(tenant, StageId(row.id), StageName(row.name)) for row in rows], moment)
    return frozenset(VersionId(row.version_id) for row in rows)


def _refuse_name() -> NoReturn:
    raise Conflict("This name cannot be used in this source. Choose another name, or another source.")


def _lock_source(session: Session, tenant: TenantId, source: str | None) -> UUID:
    # Uploads into one source take turns here, so that two of the same name cannot both find it free.
    name = f"upload:{uuid7()}" if source is None else source
    locked = select(SourceRow.id).where(SourceRow.tenant == tenant, SourceRow.name == name).with_for_update()
    found = None if source is None else session.scalars(locked).one_or_none()
    if found is None:
        row = {"tenant": tenant, "id": uuid7(), "name": name, "created_at": now(session)}
        insert_missing(session, SourceRow, [row])
        found = session.scalars(locked).one()
    return found


def _find(session: Session, tenant: TenantId, source: UUID, name: str) -> Row[UUID, UUID, int, str] | None:
    return session.execute(
        select(DocumentRow.id, VersionRow.id.label("newest_version"), VersionRow.ordinal, VersionRow.blob_hash)
        .join(VersionRow, and_(VersionRow.tenant == DocumentRow.tenant, VersionRow.id == DocumentRow.newest_version))
        .where(
            DocumentRow.tenant == tenant,
            DocumentRow.source_id == source,
            DocumentRow.name == name,
            DocumentRow.deleted_at.is_(None),
        )
        .with_for_update(of=DocumentRow)
    ).one_or_none()


def _create(session: Session, tenant: TenantId, source: UUID, new: Upload) -> DocumentId:
    if new.parent is not None:
        parent = select(DocumentRow.id).where(
            DocumentRow.tenant == tenant, DocumentRow.id == new.parent, DocumentRow.deleted_at.is_(None)
        )
        if session.scalars(parent.with_for_update()).one_or_none() is None:
            raise NotFound("There is no such document.")
    document = DocumentId(uuid7())
    session.execute(
        insert(DocumentRow).values(
            tenant=tenant,
            id=document,
            source_id=source,
            name=new.name,
            folder=folder_of(new.name),
            parent_id=new.parent,
            uploader=new.uploader,
            created_at=db_now(),
        )
    )
    entries = {*(Entry(one, "allow") for one in new.allow), *(Entry(one, "deny") for one in new.deny)}
    add_entries(session, tenant, [({"document_id": document}, entry) for entry in sorted(entries)])
    return document


def _add_version(
    session: Session, tenant: TenantId, document: DocumentId, ordinal: int, blob_hash: str, size: int
) -> VersionId:
    version = VersionId(uuid7())
    session.execute(
        insert(VersionRow).values(
            tenant=tenant,
            id=version,
            document_id=document,
            ordinal=ordinal,
            blob_hash=blob_hash,
            size=size,
            created_at=db_now(),
        )
    )
    session.execute(
        update(DocumentRow)
        .where(DocumentRow.tenant == tenant, DocumentRow.id == document)
        .values(newest_version=version)
        .execution_options(synchronize_session=False)
    )
    return version


def _add_stages(session: Session, tenant: TenantId, document: DocumentId, version: VersionId, blob_hash: str) -> None:
    moment = now(session)
    parse = StageId(uuid7())
    common = {
        "tenant": tenant,
        "document_id": document,
        "version_id": version,
        "ready_at": moment,
        "created_at": moment,
    }
    session.execute(
        insert(StageRow),
        [
            {**common, "id": parse, "name": "parse", "index_id": "", "state": "queued", "input_hash": blob_hash},
            *(
                {**common, "id": uuid7(), "name": name, "index_id": index, "state": "waiting", "input_hash": None}
                for name, index in [("chunk", ""), ("embed", ""), *(("index", one) for one in written_indexes(session))]
            ),
        ],
    )
    announce(session, [(tenant, parse, StageName.PARSE)], moment)
