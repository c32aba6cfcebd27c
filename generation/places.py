"""Where cited words stand on their pages, from the stored parse results."""

import threading
from collections import OrderedDict
from dataclasses import replace

from core.blobs import BlobStore
from core.boxes import line_boxes
from core.db import answers
from core.db.session import Database
from core.domain import Page, ParsedDocument, Span
from core.errors import FootnoteError
from core.ids import TenantId, VersionId
from core.parsed import from_bytes
from generation.ports import Place

_KEPT = 4  # Parse results in memory: an answer rarely cites more documents; a large one takes tens of megabytes.


def page_of(pages: tuple[Page, ...], position: int) -> int | None:
    """Return the number of the page that holds the character, else of the last page that begins before it."""
    number = None
    for page in pages:
        if page.span.start > position:
            break
        number = page.number
    return number


class ParsedPlaces:
    """Locates words in stored parse results; remembers the last few of them. Safe for many threads."""

    def __init__(self, *, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._lock = threading.Lock()
        self._parsed: OrderedDict[tuple[TenantId, VersionId], ParsedDocument] = OrderedDict()

    def locate(self, tenant: TenantId, version: VersionId, span: Span) -> Place | None:
        """Return where the span stands; None if the version is gone or its parse result cannot be read."""
        parsed = self._read(tenant, version)
        if parsed is None:
            return None
        return Place(page=page_of(parsed.pages, span.start), boxes=tuple(line_boxes(parsed, span)))

    def _read(self, tenant: TenantId, version: VersionId) -> ParsedDocument | None:
        key = (tenant, version)
        with self._lock:
            if key in self._parsed:
                self._parsed.move_to_end(key)
                return self._parsed[key]
        with self._database.reading() as session:
            blob = answers.parsed_hash(session, tenant, version)
        if blob is None:
            return None
        try:
            # Elements are not needed to draw a citation, and there are many.
            parsed = replace(from_bytes(self._blobs.read(tenant, blob)), elements=())
        except FootnoteError:
            return None
        with self._lock:
            self._parsed[key] = parsed
            while len(self._parsed) > _KEPT:
                self._parsed.popitem(last=False)
        return parsed
