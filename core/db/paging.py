"""Pages of documents, the newest first, of which only those that the asker may know of are shown.

A page may end at a document that its reader may not know of. So a cursor is masked with a secret of the installation:
it tells nobody which document that is, nor when it came, and nobody makes one of their own.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import SecretRow
from core.errors import InvalidInput
from core.ids import DocumentId

MAX_LIMIT = 500
BATCH = 500  # Documents that are checked at a time.
MAX_SCANNED = 10_000  # Documents that one page looks at; a page may come out short, or empty, and still have a next.
SIZE = 16  # Bytes of an id, and of what vouches for it.

Following = Callable[[DocumentId | None], Sequence[DocumentId]]
Seen = Callable[[Sequence[DocumentId]], AbstractSet[DocumentId]]


def seen_page(
    session: Session, following: Following, seen: Seen, *, cursor: str | None, limit: int
) -> tuple[list[DocumentId], str | None]:
    """Return up to `limit` documents after the cursor that are seen, and the cursor of those after them.

    `following` returns the next `BATCH` ids below the one that it is given, the newest first; fewer at the end.
    Documents that come or go between two pages neither repeat nor hide others. Raises `InvalidInput` for a cursor or
    limit that is none.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(f"The limit must be from 1 to {MAX_LIMIT}.")
    after = read_cursor(session, cursor)
    chosen: list[DocumentId] = []
    scanned = 0
    while scanned < MAX_SCANNED:
        some = following(after)
        scanned += len(some)
        known = seen(some) if some else frozenset()
        for document in some:
            after = document
            if document in known:
                chosen.append(document)
                if len(chosen) > limit:  # One more than wanted: so there is a next page.
                    return chosen[:limit], cursor_after(session, chosen[limit - 1])
        if len(some) < BATCH:
            return chosen, None
    return chosen, None if after is None else cursor_after(session, after)


def cursor_after(session: Session, document: DocumentId) -> str:
    """Return the cursor of what comes after the document."""
    secret = _secret(session)
    tag = _digest(secret, b"tag", document.bytes)
    return base64.urlsafe_b64encode(tag + _masked(secret, tag, document.bytes)).rstrip(b"=").decode()


def read_cursor(session: Session, cursor: str | None) -> DocumentId | None:
    """Return the document that the cursor stands after, None for the beginning; raises `InvalidInput`."""
    if cursor is None:
        return None
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    secret = _secret(session)
    tag, document = content[:SIZE], _masked(secret, content[:SIZE], content[SIZE:])
    if len(content) != 2 * SIZE or not hmac.compare_digest(tag, _digest(secret, b"tag", document)):
        raise InvalidInput("This cursor is none that a page of documents ended with.")
    return DocumentId(UUID(bytes=document))


def _masked(secret: bytes, tag: bytes, content: bytes) -> bytes:
    return bytes(one ^ mask for one, mask in zip(content, _digest(secret, b"mask", tag), strict=False))


def _digest(secret: bytes, use: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, use + content, "sha256")[:SIZE]


def _secret(session: Session) -> bytes:
    return session.scalars(select(SecretRow.value).where(SecretRow.name == "cursors")).one()
