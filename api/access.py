"""Who may read a document or folder: shown to, and changed by, those who may write it."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.bodies import Body, JsonBody, json_response
from api.dependencies import Admin, Caller, Editor, ServicesOf
from api.documents import DocumentOf, require_writable
from core.access import EffectiveAccess, Entry
from core.db import access, audit, lookups
from core.db.access import DocumentAccess, FolderAccess
from core.db.access_facts import InheritedEntry
from core.ids import DocumentId

router = APIRouter()


class AccessChange(Body):
    """Principals are `user:U`, `group:G` or `*`. `remove` takes both entries of a principal away, before the rest."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


class DocumentAccessChange(AccessChange):
    """`inherit` false: the folder's entries no longer hold for this document."""

    inherit: bool | None = None


class FolderAccessChange(AccessChange):
    """`folder` is relative to the source, "" its root."""

    source: str
    folder: str = ""


@router.get("/v1/documents/{document}/acl")
def document_access(caller: Editor, services: ServicesOf, document: DocumentOf) -> Response:
    """Return the document's entries: own, inherited, and what follows from them."""
    with services.database.reading() as session:
        require_writable(session, caller, document)
        held = access.entries_of(session, caller.key.tenant, document)
        return json_response(document_access_json(document, held, _source_names(session, caller, held.inherited)))


@router.patch("/v1/documents/{document}/acl")
@router.post("/v1/documents/{document}/acl")
def change_document_access(
    caller: Editor, services: ServicesOf, document: DocumentOf, body: JsonBody[DocumentAccessChange]
) -> Response:
    """Change the document's own entries; it holds at once, for every request that starts from now on."""
    tenant = caller.key.tenant
    with services.database.transaction() as session:
        require_writable(session, caller, document)
        held = access.change_document_access(
            session, tenant, document, allow=body.allow, deny=body.deny, remove=body.remove, inherit=body.inherit
        )
        audit.record(session, tenant, caller.actor, "access.change", str(document), **body.model_dump())
        answer = document_access_json(document, held, _source_names(session, caller, held.inherited))
    services.wake()
    return json_response(answer)


@router.get("/v1/sources/acl")
def folder_access(
    caller: Admin, services: ServicesOf, source: Annotated[str, Query()], folder: Annotated[str, Query()] = ""
) -> Response:
    """Return the entries of a folder of a source, and those that it inherits."""
    with services.database.reading() as session:
        found = lookups.find_source(session, caller.key.tenant, source)
        held = access.folder_entries(session, caller.key.tenant, found, folder)
        return json_response(folder_access_json(source, folder, held, _source_names(session, caller, held.inherited)))


@router.patch("/v1/sources/acl")
@router.post("/v1/sources/acl")
def change_folder_access(caller: Admin, services: ServicesOf, body: JsonBody[FolderAccessChange]) -> Response:
    """Change the entries of a folder, for all documents below it that inherit."""
    tenant = caller.key.tenant
    with services.database.transaction() as session:
        found = lookups.find_source(session, tenant, body.source)
        held = access.change_folder_access(
            session, tenant, found, body.folder, allow=body.allow, deny=body.deny, remove=body.remove
        )
        changes = body.model_dump(exclude={"source", "folder"})
        audit.record(session, tenant, caller.actor, "folder.change", f"{body.source}/{body.folder}", **changes)
        names = _source_names(session, caller, held.inherited)
        answer = folder_access_json(body.source, body.folder, held, names)
    services.wake()
    return json_response(answer)


def _source_names(session: Session, caller: Caller, entries: tuple[InheritedEntry, ...]) -> Mapping[UUID, str]:
    wanted = {entry.source for entry in entries if entry.source is not None}
    return lookups.source_names(session, caller.key.tenant, wanted)


def document_access_json(document: DocumentId, held: DocumentAccess, sources: Mapping[UUID, str]) -> dict[str, Any]:
    """Return a document's access as JSON values."""
    return {
        "document": document,
        "inherit": held.inherit,
        "own": _entries(held.own),
        "inherited": [_inherited(entry, sources) for entry in held.inherited],
        "effective": _effective(held.effective),
        "revision": held.revision,
    }


def folder_access_json(source: str, folder: str, held: FolderAccess, sources: Mapping[UUID, str]) -> dict[str, Any]:
    """Return a folder's access as JSON values."""
    return {
        "source": source,
        "folder": folder,
        "own": _entries(held.own),
        "inherited": [_inherited(entry, sources) for entry in held.inherited],
        "effective": _effective(held.effective),
    }


def _entries(entries: tuple[Entry, ...]) -> dict[str, list[str]]:
    return {
        effect: sorted(entry.principal for entry in entries if entry.effect == effect) for effect in ("allow", "deny")
    }


def _inherited(entry: InheritedEntry, sources: Mapping[UUID, str]) -> dict[str, Any]:
    return {
        "principal": entry.principal,
        "effect": entry.effect,
        "folder": entry.folder,
        "source": None if entry.source is None else sources.get(entry.source),
        "container": entry.container,
    }


def _effective(held: EffectiveAccess) -> dict[str, list[str]]:
    return {"allow": sorted(held.allow), "deny": sorted(held.deny)}
