"""Uploads by the key that their sender gave them: the same request twice is one document, whatever came in between."""

import hashlib
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from core.db.clock import SECOND, now
from core.db.inserting import insert_missing
from core.db.tables import UploadKeyRow
from core.errors import Conflict
from core.ids import DocumentId, TenantId

KEPT_SECONDS = 86_400.0  # A sender that repeats a request later than this has to look first.


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadKey:
    """What the sender calls this request, and a hash of all that it asks for."""

    uploader: str
    key: str
    request_hash: str

    @property
    def key_hash(self) -> str:
        """The key as it is stored: of one length, whatever the sender chose."""
        return hashlib.sha256(self.key.encode()).hexdigest()


def take_key(session: Session, tenant: TenantId, upload: UploadKey) -> DocumentId | None:
    """Return the document that this very request made before; None if it is the first, which then holds the key.

    A request of the same key waits until the transaction of the other has ended.

    :raises Conflict: the key belongs to another request.
    """
    row = {
        "tenant": tenant,
        "uploader": upload.uploader,
        "key_hash": upload.key_hash,
        "request_hash": upload.request_hash,
        "created_at": now(session),
    }
    insert_missing(session, UploadKeyRow, [row])
    held = session.execute(
        select(UploadKeyRow.request_hash, UploadKeyRow.document_id).where(_is(tenant, upload)).with_for_update()
    ).one()
    if held.request_hash != upload.request_hash:
        raise Conflict(
            "This Idempotency-Key was used for another upload (other bytes, name, source or access). Nothing was "
            "changed. Use a new key for a new upload."
        )
    return None if held.document_id is None else DocumentId(held.document_id)


def note_document(session: Session, tenant: TenantId, upload: UploadKey, document: DocumentId) -> None:
    """Note what the request of this key made."""
    session.execute(
        update(UploadKeyRow)
        .where(_is(tenant, upload))
        .values(document_id=document)
        .execution_options(synchronize_session=False)
    )


def forget_old_keys(session: Session) -> None:
    """Remove the keys that were given longer than a day ago."""
    before = now(session) - round(KEPT_SECONDS * SECOND)
    session.execute(
        delete(UploadKeyRow).where(UploadKeyRow.created_at < before).execution_options(synchronize_session=False)
    )


def _is(tenant: TenantId, upload: UploadKey) -> ColumnElement[bool]:
    return and_(
        UploadKeyRow.tenant == tenant,
        UploadKeyRow.uploader == upload.uploader,
        UploadKeyRow.key_hash == upload.key_hash,
    )
