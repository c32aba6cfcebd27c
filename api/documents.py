"""Documents: upload, status, delete, retry. What somebody may not know of answers like what does not exist."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.bodies import json_response, uuid_or_absent
from api.dependencies import Caller, Editor, Reader, ServicesOf
from api.room import Room, room_for
from api.services import Services
from api.times import iso
from api.uploads import UploadForm, read_upload
from core.blobs import folder_of_blobs
from core.db import access, documents, lookups, receipts
from core.db.documents import DocumentStatus
from core.db.receipts import DeletionReceipt
from core.domain import DocumentState
from core.errors import NotFound
from core.ids import DocumentId
from core.intake import Intake, UploadRequest

router = APIRouter()

MOST_LISTED = 500


async def _document_id(document: str) -> DocumentId:
    return DocumentId(uuid_or_absent(document))


# Declare it after the caller: who has no key is told so before anything is said about an id.
DocumentOf = Annotated[DocumentId, Depends(_document_id)]


@router.post("/v1/documents")
async def upload(request: Request, caller: Editor, services: ServicesOf) -> Response:
    """Take a file in. The answer 202 means that its bytes and its place in the queue are durable."""
    declared = request.headers.get("Content-Length", "")
    size = int(declared) if declared.isascii() and declared.isdecimal() else None
    async with _room(services).admitted(size) as admission:
        form = await read_upload(Request(request.scope, admission.counted(request.receive)))
        try:
            status = await run_in_threadpool(_accept, services, caller, form, request.headers.get("Idempotency-Key"))
        finally:
            form.file.close()
    services.wake()
    return json_response(report_json([status]), status=HTTPStatus.ACCEPTED)


def _room(services: Services) -> Room:
    settings = services.settings
    return room_for(settings.data, folder_of_blobs(settings), settings.min_free_bytes)


def _accept(services: Services, caller: Caller, form: UploadForm, key: str | None) -> DocumentStatus:
    with services.database.reading() as session:
        principal = caller.principal_in(session)  # the form may have taken minutes to arrive
    intake = Intake(database=services.database, blobs=services.blobs, max_bytes=services.settings.max_upload_bytes)
    request = UploadRequest(
        name=form.filename if form.name is None else form.name,
        source=form.source,
        allow=form.allow,
        deny=form.deny,
        idempotency_key=key,
    )
    return intake.upload(principal, request, form.file)


@router.get("/v1/documents")
def list_documents(
    caller: Reader,
    services: ServicesOf,
    state: Annotated[DocumentState | None, Query()] = None,
    source: Annotated[str | None, Query()] = None,
    name: Annotated[str | None, Query()] = None,
    cursor: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
) -> Response:
    """Return a page of the documents that the caller may know of, the newest first; `name` is the whole name.

    `totals` counts all of them by state, on the first page of a list that is not restricted to one state; else null.
    """
    if state is DocumentState.DELETED:
        return json_response({"documents": [], "next": None, "totals": None})
    with services.database.reading() as session:
        principal = caller.principal
        page = documents.list_readable(
            session, principal, state=state, source=source, name=name, cursor=cursor, limit=limit
        )
        whole = state is None and cursor is None
        totals = documents.readable_totals(session, principal, source=source, name=name) if whole else None
    return json_response(
        {"documents": page.documents, "next": page.next, "totals": None if totals is None else totals_json(totals)}
    )


@router.get("/v1/documents/{document}")
def read_document(caller: Reader, services: ServicesOf, document: DocumentOf) -> Response:
    """Return what became of the document, to those who may read it and to its uploader.

    That it was deleted is told to those who may see the receipt.
    """
    with services.database.reading() as session:
        if not access.visible(session, caller.principal, [document]):
            known_receipt(session, caller, document)
        return json_response(documents.status(session, caller.key.tenant, [document])[0])


@router.delete("/v1/documents/{document}")
def delete_document(caller: Editor, services: ServicesOf, document: DocumentOf) -> Response:
    """Delete the document: nobody reads it from now on. The receipt tells which stores have let go of it so far."""
    with services.database.transaction() as session:
        require_writable(session, caller, document)
        documents.delete(session, caller.key.tenant, document, caller.actor)
        receipt = receipts.receipt(session, caller.key.tenant, document)
    services.wake()
    return json_response(receipt_json(receipt), status=HTTPStatus.ACCEPTED)


@router.get("/v1/documents/{document}/receipt")
def read_receipt(caller: Editor, services: ServicesOf, document: DocumentOf) -> Response:
    """Return the receipt of a deletion, to whoever deleted the document and to administrators."""
    with services.database.reading() as session:
        return json_response(receipt_json(known_receipt(session, caller, document)))


@router.post("/v1/documents/{document}/retry")
def retry_document(caller: Editor, services: ServicesOf, document: DocumentOf) -> Response:
    """Queue again what failed of the document."""
    with services.database.transaction() as session:
        require_writable(session, caller, document)
        documents.retry(session, caller.key.tenant, document)
        status = documents.status(session, caller.key.tenant, [document])[0]
    services.wake()
    return json_response(status, status=HTTPStatus.ACCEPTED)


def known_receipt(session: Session, caller: Caller, document: DocumentId) -> DeletionReceipt:
    """Return the receipt to whoever deleted the document and to administrators; raises `NotFound` to everybody else."""
    tenant = caller.key.tenant
    if caller.key.role != "admin" and lookups.deleted_by(session, tenant, document) != caller.actor:
        raise NotFound("no such document")
    return receipts.receipt(session, tenant, document)


def require_writable(session: Session, caller: Caller, document: DocumentId) -> None:
    """Raise `NotFound` unless the caller may change the document, judged by the directory as it is now."""
    if not access.may_write(session, caller.principal_in(session), document):
        raise NotFound("no such document")


def report_json(statuses: list[DocumentStatus]) -> dict[str, Any]:
    """Return the ingest JSON."""
    report = documents.report(statuses)
    return {"documents": report.documents, "totals": totals_json(report.totals)}


def totals_json(totals: Mapping[DocumentState, int]) -> dict[str, int]:
    """Return how many documents are in each state, as JSON values."""
    return {state.value: count for state, count in totals.items()}


def receipt_json(receipt: DeletionReceipt) -> dict[str, Any]:
    """Return a deletion's receipt as JSON values: per store what it removed and when it was sure; null: not yet."""
    return {
        "document": receipt.document,
        "state": DocumentState.DELETED,
        "deleted_at": iso(receipt.deleted_at),
        "complete": receipt.complete,
        "stores": [
            {"store": store.store, "removed": store.removed, "confirmed_at": iso(store.confirmed_at)}
            for store in receipt.stores
        ],
    }
