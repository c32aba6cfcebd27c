"""The upload use case: bytes first, durable; then everything else in one transaction; then the answer."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, TypeVar

from sqlalchemy.orm import Session

from core.access import parse_principal
from core.blobs import BlobStore
from core.db.access import may_write, visible
from core.db.audit import record
from core.db.blobs import (
    HOLD_SECONDS,
    Collected,
    collect_blobs,
    confirm_receipts,
    has_taken_in,
    unknown_blobs,
    unreferenced_blobs,
    while_short,
)
from core.db.documents import (
    Accepted,
    DocumentStatus,
    Rights,
    Upload,
    accept,
    status,
)
from core.db.idempotency import UploadKey, forget_old_keys, note_document, take_key
from core.db.session import Database
from core.db.tenants import hold_absent, list_tenants
from core.domain import Principal
from core.errors import Forbidden, InvalidInput, Unavailable
from core.ids import DocumentId, TenantId
from core.names import document_name, source_name

BLOB_GRACE_SECONDS = 3_600.0  # An unreferenced blob stays so long: an upload of the same bytes may be under way.
MOST_COLLECTED = 50_000  # Of the blobs that have a row, in one go: what is left waits for the next.
AT_ONCE = 20  # Blobs that are removed under the lock that an upload takes, before others have their turn.
TURN_SECONDS = 0.01  # Between two turns of removing: whoever waits for the lock has it.
MAX_KEY_CHARS = 255
MAX_ENTRIES = 1_000  # Allow and deny entries of one upload.

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRequest:
    """What the sender says of a file; nothing of it is trusted. `source` None: the file gets a source of its own.

    With an `idempotency_key` the same request again returns the document that the first one made, for a day.
    """

    name: str
    source: str | None = None
    allow: Sequence[str] = ()
    deny: Sequence[str] = ()
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    name: str
    source: str | None
    uploader: str
    allow: tuple[str, ...]
    deny: tuple[str, ...]


class Intake:
    """Takes files in. Once a call returns, the bytes and the rows are durable and the document is accounted for."""

    def __init__(self, *, database: Database, blobs: BlobStore, max_bytes: int) -> None:
        self._database = database
        self._blobs = blobs
        self._max_bytes = max_bytes

    def upload(self, principal: Principal, request: UploadRequest, content: bytes | BinaryIO) -> DocumentStatus:
        """Store the content and queue the document; return what became of it so far.

        The request is checked before the first byte is stored. If anything fails after that, the stored bytes have no
        row and are collected within the hour; the sender may simply send the file again.

        :raises Forbidden: the principal reads nothing (suspended or unknown), is a reader, or may not replace the
            document of this name.
        :raises Conflict: the name is taken by a document that the principal may not know, or the idempotency key by
            another request.
        :raises InvalidInput: the name, the source or a principal is malformed (`InvalidName` for the first two).
        :raises PayloadTooLarge, StorageFull: nothing was kept.
        """
        checked = _check(principal, request)
        blob = self._blobs.put(principal.tenant, content, max_bytes=self._max_bytes)
        with self._database.transaction() as session:
            # Under the lock that collecting takes too: from here on nobody removes these bytes.
            upload = Upload(
                source=checked.source,
                name=checked.name,
                blob_hash=blob.hash,
                size=blob.size,
                uploader=checked.uploader,
                allow=checked.allow,
                deny=checked.deny,
            )
            key = _key(request, upload)
            made = None if key is None else take_key(session, principal.tenant, key)
            if made is not None:
                return status(session, principal.tenant, [made])[0]
            accepted = accept(session, principal.tenant, upload, rights=_rights(session, principal))
            if not self._blobs.keep(principal.tenant, blob.hash):
                raise Unavailable("The file could not be kept; nothing was accepted. Send it again.")
            if key is not None:
                note_document(session, principal.tenant, key, accepted.document)
            return _told(session, principal, checked, accepted)

    def collect(self, *, older_than: float = BLOB_GRACE_SECONDS) -> int:
        """Remove bytes that nothing has needed for so many seconds, with or without a row; return how many blobs.

        Bytes of a tenant that was removed go at once: no upload can come to refer to them. A database that never took
        in anything removes nothing: its files belong to a catalogue that was lost, or is another one.
        """
        with self._database.reading() as session:
            if not has_taken_in(session):
                return 0
        with self._database.transaction() as session:
            forget_old_keys(session)
        began = time.monotonic()
        with self._database.reading() as session:
            doomed = unreferenced_blobs(session, older_than=older_than, limit=MOST_COLLECTED)
        removed = self._in_turns(doomed, partial(self._remove_unreferenced, older_than))
        with self._database.transaction() as session:
            # As of when the list was made: what has become old enough since then is no reason to wait.
            confirm_receipts(session, older_than=older_than + time.monotonic() - began)
        stored = set(self._blobs.tenants())
        with self._database.reading() as session:
            tenants = list_tenants(session)
        for tenant in tenants:
            removed += self._collect_orphans(tenant, older_than)
        for tenant in sorted(stored.difference(tenants)):
            removed += self._collect_removed(tenant)
        return removed

    def _collect_orphans(self, tenant: TenantId, older_than: float) -> int:
        stored = [blob.hash for blob in self._blobs.list(tenant)]
        with self._database.reading() as session:
            suspects = unknown_blobs(session, tenant, stored)
        return self._in_turns(suspects, partial(self._remove_orphans, tenant, older_than))

    def _in_turns(self, doomed: Sequence[T], remove: Callable[[Session, Sequence[T]], Collected]) -> int:
        """Remove a few at a time: the store may be slow, and nobody writes to the catalogue meanwhile."""
        removed = seen = 0
        while seen < len(doomed):
            with self._database.transaction() as session:  # the lock that an upload takes; asked again under it
                turn = remove(session, doomed[seen : seen + AT_ONCE])
            seen, removed = seen + turn.seen, removed + turn.removed
            time.sleep(TURN_SECONDS)
        return removed

    def _remove_unreferenced(
        self, older_than: float, session: Session, some: Sequence[tuple[TenantId, str]]
    ) -> Collected:
        return collect_blobs(session, self._blobs, some, older_than=older_than)

    def _remove_orphans(self, tenant: TenantId, older_than: float, session: Session, some: Sequence[str]) -> Collected:
        orphans = set(unknown_blobs(session, tenant, some))
        seen = removed = 0
        for hash_ in while_short(some, HOLD_SECONDS):
            seen += 1
            removed += hash_ in orphans and self._blobs.delete(tenant, hash_, min_age_seconds=older_than)
        return Collected(seen=seen, removed=removed)

    def _collect_removed(self, tenant: TenantId) -> int:
        removed, limit, more = 0, AT_ONCE, True
        while more:
            begun = time.monotonic()
            with self._database.transaction() as session:
                # A tenant of this name that is added anew, and its uploads, come wholly before this or wholly after.
                some = self._blobs.remove_tenant(tenant, limit=limit) if hold_absent(session, tenant) else 0
            removed, more = removed + some, some == limit
            if time.monotonic() - begun > HOLD_SECONDS:
                limit = max(1, limit // 2)
            time.sleep(TURN_SECONDS)
        return removed


def uploader_of(principal: Principal) -> str:
    """Return the principal that documents of this caller belong to: the user, or the one user the caller reads as.

    :raises Forbidden: the caller is suspended or nobody.
    """
    if principal.user is None:
        raise Forbidden("A document belongs to a user: upload as one, not as a group or as several at once.")
    name = f"user:{principal.user}"
    if name not in principal.closure:
        raise Forbidden("You may not upload: this user is suspended or not known.")
    return name


def _check(principal: Principal, request: UploadRequest) -> _Checked:
    uploader = uploader_of(principal)
    if principal.role == "reader":
        raise Forbidden("You may read but not upload. Ask an administrator for the role of an editor.")
    key = request.idempotency_key
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARS and key.isprintable()):
        raise InvalidInput(f"An Idempotency-Key has 1 to {MAX_KEY_CHARS} printable characters.")
    if len(request.allow) + len(request.deny) > MAX_ENTRIES:
        raise InvalidInput(f"An upload takes at most {MAX_ENTRIES:,} allow and deny entries. Use a group.")
    return _Checked(
        name=document_name(request.name),
        source=None if request.source is None else source_name(request.source),
        uploader=uploader,
        allow=tuple(dict.fromkeys(parse_principal(text) for text in request.allow)),
        deny=tuple(dict.fromkeys(parse_principal(text) for text in request.deny)),
    )


def _key(request: UploadRequest, upload: Upload) -> UploadKey | None:
    if request.idempotency_key is None:
        return None
    asked = (upload.source or "", upload.name, upload.blob_hash, *sorted(upload.allow), "", *sorted(upload.deny))
    request_hash = hashlib.sha256("\0".join(asked).encode()).hexdigest()
    return UploadKey(uploader=upload.uploader, key=request.idempotency_key, request_hash=request_hash)


def _rights(session: Session, principal: Principal) -> Rights:
    def see(document: DocumentId) -> bool:
        return bool(visible(session, principal, [document]))

    def write(document: DocumentId) -> bool:
        return may_write(session, principal, document)

    return Rights(see=see, write=write)


def _told(session: Session, principal: Principal, checked: _Checked, accepted: Accepted) -> DocumentStatus:
    if accepted.created or accepted.retried:
        action = "document.upload" if accepted.created else "document.retry"
        record(
            session, principal.tenant, checked.uploader, action, str(accepted.document), version=str(accepted.version)
        )
    return status(session, principal.tenant, [accepted.document])[0]
