"""What a citation points at: the words in the canonical text, and the page with the cited lines drawn."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.bodies import json_response, span_of, uuid_or_absent
from api.dependencies import Caller, Reader, ServicesOf
from api.documents import DocumentOf
from api.errors import FieldError, InvalidFields
from api.services import Services
from core.boxes import line_boxes
from core.db import access, lookups
from core.db.lookups import VersionFiles
from core.domain import Box, ParsedDocument, Span
from core.errors import NotFound
from core.ids import DocumentId, TenantId, VersionId
from core.parsed import from_bytes, lines_from_bytes, text_from_bytes

router = APIRouter()

MOST_CHARACTERS = 1_000_000  # of one answer: a client that wants a whole book asks in pieces
MOST_PAGE_DIGITS = 6
DRAWABLE = "application/pdf"


@router.get("/v1/documents/{document}/text")
def read_text(
    caller: Reader,
    services: ServicesOf,
    document: DocumentOf,
    version: Annotated[str | None, Query()] = None,
    start: Annotated[int, Query(ge=0)] = 0,
    end: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Return characters [start, end) of the document's canonical text, counted in code points.

    Without `end`: to the end of the text, a million characters at most. `length` is the whole text's.
    """
    files = readable_files(services, caller, document, version)
    parsed = parsed_document(services, caller, files)
    length = len(parsed.text)
    stop = min(length, start + MOST_CHARACTERS) if end is None else end
    if not start < stop <= length or stop - start > MOST_CHARACTERS:
        message = f"must fulfil start < end <= {length}, at most {MOST_CHARACTERS} characters apart"
        raise InvalidFields([FieldError(field="end", message=message)])
    pages = [page.number for page in parsed.pages if page.span.start < stop and page.span.end > start]
    return json_response(
        {
            "document": document,
            "version": files.version,
            "start": start,
            "end": stop,
            "length": length,
            "text": parsed.text[start:stop],
            "pages": [pages[0], pages[-1]] if pages else None,
        }
    )


@router.get("/v1/documents/{document}/pages/{page}.png")
def read_page(
    caller: Reader,
    services: ServicesOf,
    document: DocumentOf,
    page: str,
    version: Annotated[str | None, Query()] = None,
    span: Annotated[str | None, Query()] = None,
) -> Response:
    """Return the page as a picture; the lines that hold the span are marked on it."""
    files = readable_files(services, caller, document, version)
    number = page_number(page, files)
    boxes = _boxes(services.blobs.read(caller.key.tenant, files.parsed_hash), number, span) if span is not None else []
    with _file(services, caller.key.tenant, files.blob_hash) as path:
        picture = services.pages.render(path, number, boxes)
    return Response(picture, media_type="image/png")


def readable_files(services: Services, caller: Caller, document: DocumentId, version: str | None) -> VersionFiles:
    """Return the version's files; raises `NotFound` unless the caller may read the document now."""
    wanted = None if version is None else VersionId(uuid_or_absent(version))
    with services.database.reading() as session:
        if not access.readable(session, caller.principal, [document]):
            raise NotFound("no such document")
        return lookups.version_files(session, caller.key.tenant, document, wanted)


def parsed_document(services: Services, caller: Caller, files: VersionFiles) -> ParsedDocument:
    """Return the version's parse result."""
    return from_bytes(services.blobs.read(caller.key.tenant, files.parsed_hash))


def page_number(text: str, files: VersionFiles) -> int:
    """Return the number of a page that can be drawn; raises `NotFound`."""
    if files.media_type != DRAWABLE or not text.isascii() or not text.isdecimal() or len(text) > MOST_PAGE_DIGITS:
        raise NotFound("no such page")
    number = int(text)
    if number < 1 or (files.page_count is not None and number > files.page_count):
        raise NotFound("no such page")
    return number


def _boxes(stored: bytes, page: int, span: str) -> list[Box]:
    start, end = span_of(span)
    text = text_from_bytes(stored)
    if end > len(text):
        raise InvalidFields([FieldError(field="span", message=f"must end at {len(text)} or before")])
    wanted = Span(start=start, end=end)
    passage = ParsedDocument(  # of all the lines, those that are drawn
        text=text, title=None, language=None, elements=(), pages=(), lines=lines_from_bytes(stored, wanted)
    )
    return [box for box in line_boxes(passage, wanted) if box.page == page]


@contextmanager
def _file(services: Services, tenant: TenantId, blob: str) -> Iterator[Path]:
    """Yield the blob as a file: the stored one, or a copy for as long as it is needed."""
    stored = services.blobs.path(tenant, blob)
    if stored is not None:
        if not stored.exists():
            raise NotFound("no such blob")
        yield stored
        return
    with services.blobs.open(tenant, blob) as source, NamedTemporaryFile(suffix=".blob") as copy:
        shutil.copyfileobj(source, copy)
        copy.flush()
        yield Path(copy.name)
