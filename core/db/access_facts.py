"""Everything in the catalogue that bears on who may read some documents, loaded in a few statements however many."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar
from uuid import UUID

from sqlalchemy import BindParameter, bindparam, or_, select
from sqlalchemy.orm import Session

from core.access import EffectiveAccess, Entry, ancestors, effective
from core.db.tables import AccessEntryRow, DocumentRow
from core.domain import Effect
from core.ids import DocumentId, TenantId, VersionId

BATCH = 5_000  # Bound values per statement; SQLite takes 32,766.

Item = TypeVar("Item")
Place = tuple[UUID, str]  # a source and a folder of it

# Built once: composing a statement costs more than SQLite takes to answer it.
_TENANT: BindParameter[str] = bindparam("tenant")
# Over the tables, not the classes: the ORM's own preparation of a result takes as long again.
_DOCUMENT = DocumentRow.__table__.c
_ENTRY = AccessEntryRow.__table__.c
_DOCUMENTS = select(
    _DOCUMENT.id,
    _DOCUMENT.source_id,
    _DOCUMENT.folder,
    _DOCUMENT.parent_id,
    _DOCUMENT.inherit,
    _DOCUMENT.uploader,
    _DOCUMENT.acl_revision,
    _DOCUMENT.current_version,
).where(
    _DOCUMENT.tenant == _TENANT,
    _DOCUMENT.id.in_(bindparam("documents", expanding=True)),
    _DOCUMENT.deleted_at.is_(None),
)
_OWN = select(_ENTRY.document_id, _ENTRY.principal, _ENTRY.effect).where(
    _ENTRY.tenant == _TENANT, _ENTRY.document_id.in_(bindparam("documents", expanding=True))
)
_PLACED = (
    select(_ENTRY.source_id, _ENTRY.folder, _ENTRY.principal, _ENTRY.effect)
    .where(_ENTRY.tenant == _TENANT, _ENTRY.folder.in_(bindparam("folders", expanding=True)))
    .order_by(_ENTRY.principal, _ENTRY.effect)
)
_PLACED_IN = _PLACED.where(or_(_ENTRY.source_id.is_(None), _ENTRY.source_id.in_(bindparam("sources", expanding=True))))


@dataclass(frozen=True, slots=True, kw_only=True)
class InheritedEntry:
    """An entry and where it comes from: a container, or a folder of one source (`source` None: of every source)."""

    principal: str
    effect: Effect
    folder: str | None = None
    source: UUID | None = None
    container: DocumentId | None = None


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """What a document's own row says about its access, and the version that readers see (None: none yet)."""

    source: UUID
    folder: str
    parent: DocumentId | None
    inherit: bool
    uploader: str
    revision: int
    version: VersionId | None


class AccessFacts:
    """Documents that are not deleted, their containers, and every entry that bears on them.

    A member of a container inherits what holds for the container, not the entries of the folder that its name seems
    to be in; a member whose container is gone is gone.
    """

    def __init__(self, session: Session, tenant: TenantId, documents: Collection[DocumentId]) -> None:
        self.documents = _documents(session, tenant, documents)
        self._own = _own_entries(session, tenant, self.documents)
        roots = {(known.source, known.folder) for known in self.documents.values() if known.parent is None}
        self._placed = entries_at(session, tenant, roots)
        self._shared: dict[tuple[Place, str], EffectiveAccess] = {}

    def own(self, document: DocumentId) -> list[Entry]:
        """Return the document's own entries."""
        return self._own.get(document, [])

    def inherited(self, document: DocumentId) -> list[InheritedEntry]:
        """Return what the document inherits, or would if its `inherit` were true."""
        known = self.documents[document]
        if known.parent is None:
            return self._placed[known.source, known.folder]
        entries = [
            InheritedEntry(principal=entry.principal, effect=entry.effect, container=known.parent)
            for entry in self.own(known.parent)
        ]
        return entries + self.inherited(known.parent) if self.documents[known.parent].inherit else entries

    def effective(self, document: DocumentId) -> EffectiveAccess:
        """Return what holds for the document."""
        known = self.documents[document]
        own = self._own.get(document)
        if own is None and known.inherit and known.parent is None:  # most documents: the same as their neighbours
            key = ((known.source, known.folder), known.uploader)
            if key not in self._shared:
                self._shared[key] = self._decide(known, [], self._placed[key[0]])
            return self._shared[key]
        return self._decide(known, own or [], self.inherited(document))

    def _decide(self, known: DocumentFacts, own: list[Entry], inherited: list[InheritedEntry]) -> EffectiveAccess:
        entries = [Entry(entry.principal, entry.effect) for entry in inherited]
        return effective(own, entries, inherit=known.inherit, uploader=known.uploader)


def entries_at(session: Session, tenant: TenantId, places: Collection[Place]) -> dict[Place, list[InheritedEntry]]:
    """Return the folder entries that hold at each place, those of the outermost folder first."""
    folders = {folder for _, path in places for folder in ancestors(path)}
    sources = {source for source, _ in places}
    statement, chosen = (_PLACED_IN, {"sources": list(sources)}) if len(sources) <= BATCH else (_PLACED, {})
    found: dict[tuple[UUID | None, str | None], list[InheritedEntry]] = {}
    for batch in batches(folders):
        values = {"tenant": tenant, "folders": batch, **chosen}
        for source, folder, principal, effect in session.execute(statement, values):
            entry = InheritedEntry(principal=principal, effect=_effect(effect), folder=folder, source=source)
            found.setdefault((source, folder), []).append(entry)
    return {
        (source, path): [
            entry
            for folder in (ancestors(path) if found else ())
            for key in ((None, folder), (source, folder))
            for entry in found.get(key, ())
        ]
        for source, path in places
    }


def batches(items: Collection[Item]) -> Iterator[list[Item]]:
    """Yield the items in lists short enough to be bound to one statement."""
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        yield batch


def _documents(session: Session, tenant: TenantId, wanted: Collection[DocumentId]) -> dict[DocumentId, DocumentFacts]:
    found: dict[DocumentId, DocumentFacts] = {}
    asked: set[DocumentId] = set()
    level = set(wanted)
    while level:  # once, and once more for every level of containers
        for batch in batches(level):
            rows = session.execute(_DOCUMENTS, {"tenant": tenant, "documents": batch})
            for key, *facts in rows:
                found[key] = DocumentFacts(*facts)
        asked |= level
        level = {known.parent for known in found.values() if known.parent is not None} - asked
    while orphans := [key for key, known in found.items() if known.parent is not None and known.parent not in found]:
        for orphan in orphans:
            del found[orphan]
    return found


def _own_entries(
    session: Session, tenant: TenantId, documents: Collection[DocumentId]
) -> dict[DocumentId, list[Entry]]:
    own: dict[DocumentId, list[Entry]] = {}
    for batch in batches(documents):
        for document, principal, effect in session.execute(_OWN, {"tenant": tenant, "documents": batch}):
            if document is not None:
                own.setdefault(DocumentId(document), []).append(Entry(principal, _effect(effect)))
    return own


def _effect(stored: str) -> Effect:
    return "allow" if stored == "allow" else "deny"
