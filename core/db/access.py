"""Access entries of documents and folders. The catalogue decides here, from its entries, never from an index's payload.

Rights, each needing a closure that is not empty:
- read: allowed, and not denied (`core.access.may_read`). No role gives it.
- write (new version, own entries, delete): role editor or admin, not denied, and either allowed or the uploader.
- see (that it exists and what became of it): may read it, or uploaded it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.orm import Session

from core.access import EffectiveAccess, Entry, ancestors, may_read, normalise_folder, parse_principal
from core.db.access_facts import AccessFacts, InheritedEntry, batches, entries_at
from core.db.clock import now
from core.db.tables import AccessEntryRow, DocumentRow, IndexTaskRow, SourceRow
from core.domain import Principal
from core.errors import NotFound
from core.ids import DocumentId, TenantId, VersionId, uuid7


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentAccess:
    """What `footnote acl DOCUMENT` shows. `inherited` lists what would be inherited, also when `inherit` is false."""

    own: tuple[Entry, ...]
    inherited: tuple[InheritedEntry, ...]
    inherit: bool
    effective: EffectiveAccess
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderAccess:
    """Entries of a folder of a source, those it inherits, and both together (an empty `allow`: the uploaders alone)."""

    own: tuple[Entry, ...]
    inherited: tuple[InheritedEntry, ...]
    effective: EffectiveAccess


def effective_of(
    session: Session, tenant: TenantId, documents: Collection[DocumentId]
) -> dict[DocumentId, EffectiveAccess]:
    """Return what holds for each document, as index payloads carry it; unknown and deleted ones are left out."""
    facts = AccessFacts(session, tenant, documents)
    return {document: facts.effective(document) for document in documents if document in facts.documents}


def readable(session: Session, principal: Principal, documents: Collection[DocumentId]) -> frozenset[DocumentId]:
    """Return those of the documents that the principal may read now: the check that every result passes."""
    if not principal.closure or not documents:
        return frozenset()
    held = effective_of(session, principal.tenant, documents)
    return frozenset(document for document, access in held.items() if may_read(access, principal.closure))


def readable_versions(
    session: Session, principal: Principal, documents: Collection[DocumentId]
) -> dict[DocumentId, VersionId]:
    """Return the current version of those that the principal may read now; one without a version is left out."""
    if not principal.closure or not documents:
        return {}
    facts = AccessFacts(session, principal.tenant, documents)
    return {
        document: known.version
        for document in documents
        if (known := facts.documents.get(document)) is not None
        and known.version is not None
        and may_read(facts.effective(document), principal.closure)
    }


def visible(session: Session, principal: Principal, documents: Collection[DocumentId]) -> frozenset[DocumentId]:
    """Return those whose existence and state the principal may know: what it may read, and what it uploaded."""
    if not principal.closure or not documents:
        return frozenset()
    facts = AccessFacts(session, principal.tenant, documents)
    return frozenset(
        document
        for document in documents
        if (known := facts.documents.get(document)) is not None
        and (known.uploader in principal.closure or may_read(facts.effective(document), principal.closure))
    )


def may_write(session: Session, principal: Principal, document: DocumentId) -> bool:
    """Return whether the principal may replace, delete or re-assign the document; a denied uploader may not."""
    return document in writable(session, principal, [document])


def writable(session: Session, principal: Principal, documents: Collection[DocumentId]) -> frozenset[DocumentId]:
    """Return those of the documents that the principal may replace, delete, re-assign or replay."""
    if not principal.closure or principal.role == "reader" or not documents:
        return frozenset()
    facts = AccessFacts(session, principal.tenant, documents)
    found = set()
    for document in documents:
        if document in facts.documents:
            held = facts.effective(document)
            uploaded = EffectiveAccess(allow=held.allow | {facts.documents[document].uploader}, deny=held.deny)
            if may_read(uploaded, principal.closure):
                found.add(document)
    return frozenset(found)


def entries_of(session: Session, tenant: TenantId, document: DocumentId) -> DocumentAccess:
    """Return the document's entries, own and inherited, and what follows from them.

    :raises NotFound: there is no such document, or it is deleted.
    """
    facts = AccessFacts(session, tenant, [document])
    if document not in facts.documents:
        raise NotFound("There is no such document.")
    known = facts.documents[document]
    return DocumentAccess(
        own=tuple(sorted(facts.own(document))),
        inherited=tuple(facts.inherited(document)),
        inherit=known.inherit,
        effective=facts.effective(document),
        revision=known.revision,
    )


def change_document_access(
    session: Session,
    tenant: TenantId,
    document: DocumentId,
    *,
    allow: Collection[str] = (),
    deny: Collection[str] = (),
    remove: Collection[str] = (),
    inherit: bool | None = None,
) -> DocumentAccess:
    """Change the document's own entries and return what holds now. It holds at once; indexes are told by a task.

    `remove` takes both the allow and the deny entries of a principal away, before the others are added. An allow entry
    does not undo a deny entry of the same principal: deny beats allow until it is removed.

    :raises NotFound: there is no such document, or it is deleted.
    :raises InvalidInput: a principal is none.
    """
    row = session.execute(
        select(DocumentRow.inherit)
        .where(DocumentRow.tenant == tenant, DocumentRow.id == document, DocumentRow.deleted_at.is_(None))
        .with_for_update()
    ).first()
    if row is None:
        raise NotFound("There is no such document.")
    changed = _change_entries(session, tenant, {"document_id": document}, allow, deny, remove)
    if inherit is not None and inherit != row.inherit:
        session.execute(
            update(DocumentRow)
            .where(DocumentRow.tenant == tenant, DocumentRow.id == document)
            .values(inherit=inherit)
            .execution_options(synchronize_session=False)
        )
        changed = True
    if changed:
        queue_access_tasks(session, tenant, [document, *_members(session, tenant, [document])])
    return entries_of(session, tenant, document)


def change_folder_access(
    session: Session,
    tenant: TenantId,
    source: UUID,
    folder: str,
    *,
    allow: Collection[str] = (),
    deny: Collection[str] = (),
    remove: Collection[str] = (),
) -> FolderAccess:
    """Change the entries of a folder of one source, as `change_document_access` does, for all documents below it.

    :raises NotFound: there is no such source.
    :raises InvalidName: the folder is none.
    """
    path = normalise_folder(folder)
    _require_source(session, tenant, source)
    if _change_entries(session, tenant, {"source_id": source, "folder": path}, allow, deny, remove):
        queue_access_tasks(session, tenant, documents_below(session, tenant, {path}, source=source))
    return folder_entries(session, tenant, source, path)


def folder_entries(session: Session, tenant: TenantId, source: UUID, folder: str) -> FolderAccess:
    """Return the entries of a folder of a source and of the folders above it.

    :raises NotFound: there is no such source.
    """
    _require_source(session, tenant, source)
    path = normalise_folder(folder)
    found = entries_at(session, tenant, {(source, path)})[source, path]
    return FolderAccess(
        own=tuple(sorted(Entry(e.principal, e.effect) for e in found if (e.source, e.folder) == (source, path))),
        inherited=tuple(e for e in found if (e.source, e.folder) != (source, path)),
        effective=EffectiveAccess(
            allow=frozenset(e.principal for e in found if e.effect == "allow"),
            deny=frozenset(e.principal for e in found if e.effect == "deny"),
        ),
    )


def documents_below(
    session: Session, tenant: TenantId, folders: Collection[str], *, source: UUID | None = None
) -> list[DocumentId]:
    """Return the documents that inherit from one of the folders, members of containers among them."""
    here: list[ColumnElement[bool]] = [DocumentRow.tenant == tenant, DocumentRow.deleted_at.is_(None)]
    if source is not None:
        here.append(DocumentRow.source_id == source)
    known = session.execute(select(DocumentRow.folder).where(*here).distinct()).scalars()
    wanted = [folder for folder in known if not frozenset(folders).isdisjoint(ancestors(folder))]
    direct = (*here, DocumentRow.inherit.is_(True), DocumentRow.parent_id.is_(None))
    found = [
        DocumentId(document)
        for batch in batches(wanted)
        for document in session.execute(select(DocumentRow.id).where(*direct, DocumentRow.folder.in_(batch))).scalars()
    ]
    return found + _members(session, tenant, found)


def queue_access_tasks(session: Session, tenant: TenantId, documents: Collection[DocumentId]) -> None:
    """Have every index write the documents' access anew. Revisions order the writes: a late one cannot undo a newer."""
    moment = now(session)
    for batch in batches(sorted(documents)):
        # Locked in the order in which flips lock them, so that nobody waits in a circle.
        of_batch = (DocumentRow.tenant == tenant, DocumentRow.id.in_(batch))
        session.execute(select(DocumentRow.id).where(*of_batch).order_by(DocumentRow.id).with_for_update()).all()
        session.execute(
            update(DocumentRow)
            .where(*of_batch)
            .values(acl_revision=DocumentRow.acl_revision + 1)
            .execution_options(synchronize_session=False)
        )
        session.execute(
            insert(IndexTaskRow),
            [
                {
                    "tenant": tenant,
                    "id": uuid7(),
                    "kind": "access",
                    "document_id": document,
                    "created_at": moment,
                    "ready_at": moment,
                }
                for document in batch
            ],
        )


def _change_entries(
    session: Session,
    tenant: TenantId,
    place: dict[str, Any],
    allow: Collection[str],
    deny: Collection[str],
    remove: Collection[str],
) -> bool:
    """Remove and add entries of one document or folder; return whether anything changed."""
    wanted = {Entry(parse_principal(text), "allow") for text in allow}
    wanted |= {Entry(parse_principal(text), "deny") for text in deny}
    removed = {parse_principal(text) for text in remove}
    here = (
        AccessEntryRow.tenant == tenant,
        *(getattr(AccessEntryRow, column) == value for column, value in place.items()),
    )
    rows = session.execute(select(AccessEntryRow.principal, AccessEntryRow.effect).where(*here))
    before = {Entry(row.principal, row.effect) for row in rows}
    kept = {entry for entry in before if entry.principal not in removed}
    if gone := sorted({entry.principal for entry in before - kept}):
        session.execute(delete(AccessEntryRow).where(*here, AccessEntryRow.principal.in_(gone)))
    if new := sorted(wanted - kept):
        add_entries(session, tenant, [(place, entry) for entry in new])
    return before != kept | wanted


def add_entries(
    session: Session, tenant: TenantId, entries: Sequence[tuple[dict[str, Any], Entry]], *, origin: str = "manual"
) -> None:
    """Insert entries of places, `{"document_id": …}` or `{"source_id": …, "folder": …}`; no index is told."""
    if not entries:
        return
    moment = now(session)
    rows = [
        {
            "tenant": tenant,
            "id": uuid7(),
            "document_id": place.get("document_id"),
            "source_id": place.get("source_id"),
            "folder": place.get("folder"),
            "principal": entry.principal,
            "effect": entry.effect,
            "origin": origin,
            "created_at": moment,
        }
        for place, entry in entries
    ]
    session.execute(insert(AccessEntryRow), rows)


def _members(session: Session, tenant: TenantId, containers: Collection[DocumentId]) -> list[DocumentId]:
    """Return the documents that inherit from these containers, at any depth."""
    found: dict[DocumentId, None] = {}
    level: Collection[DocumentId] = containers
    while level:
        below = [
            DocumentId(document)
            for batch in batches(level)
            for document in session.execute(
                select(DocumentRow.id).where(
                    DocumentRow.tenant == tenant,
                    DocumentRow.parent_id.in_(batch),
                    DocumentRow.inherit.is_(True),
                    DocumentRow.deleted_at.is_(None),
                )
            ).scalars()
        ]
        level = [document for document in below if document not in found]
        found.update(dict.fromkeys(level))
    return list(found)


def _require_source(session: Session, tenant: TenantId, source: UUID) -> None:
    if session.get(SourceRow, (tenant, source)) is None:
        raise NotFound("There is no such source.")
