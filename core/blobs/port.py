"""The port: stored bytes by the SHA-256 of their content, each tenant's apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from core.ids import TenantId

HASH = re.compile(r"[0-9a-f]{64}")
PLAIN_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")  # What may be a folder's name as it is.
GONE = "The stored content does not exist (any more)."
TOO_FULL = "The disk is full: nothing was accepted. Free some space and try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlob:
    """Bytes that are durable: `hash` is their SHA-256 in hex, `size` their number."""

    hash: str
    size: int


class BlobStore(Protocol):
    """Keeps bytes under their hash. What it returned from `put` survives a crash of the machine.

    Whatever it does may raise `Unavailable` where the bytes lie with a service that does not answer.
    """

    def put(self, tenant: TenantId, content: bytes | BinaryIO, *, max_bytes: int | None = None) -> StoredBlob:
        """Store the content and return once it is durable; the same content again is no error.

        Raises `PayloadTooLarge` beyond `max_bytes`, `StorageFull` and `Unavailable`; nothing is accepted then.
        """
        ...

    def open(self, tenant: TenantId, hash: str) -> BinaryIO:  # noqa: A002 - the word for it
        """Return the content as a stream, to be closed by the caller. Raises `NotFound`."""
        ...

    def read(self, tenant: TenantId, hash: str) -> bytes:  # noqa: A002
        """Return the content. Raises `NotFound`."""
        ...

    def path(self, tenant: TenantId, hash: str) -> Path | None:  # noqa: A002
        """Return a file that holds the content, for programs that need one; None if the content is gone.

        It is to be opened at once: where it is a copy of what lies elsewhere, it stays for some minutes only.
        """
        ...

    def has(self, tenant: TenantId, hash: str) -> bool:  # noqa: A002
        """Return whether the content is there, without fetching it."""
        ...

    def keep(self, tenant: TenantId, hash: str) -> bool:  # noqa: A002
        """Count the content as written now; False if it is gone. For those about to refer to it anew."""
        ...

    def delete(self, tenant: TenantId, hash: str, *, min_age_seconds: float = 0.0) -> bool:  # noqa: A002
        """Remove the content unless it was written or kept within `min_age_seconds`; True if it is gone."""
        ...

    def list(self, tenant: TenantId) -> Iterator[StoredBlob]:
        """Yield everything stored for the tenant, in no order."""
        ...

    def tenants(self) -> Iterator[TenantId]:
        """Yield every tenant that something is stored for, whether or not there is such a tenant (any more)."""
        ...

    def sweep(self, *, min_age_seconds: float = 3_600.0) -> int:
        """Remove what crashed writers left behind on this machine, and return how many files that were."""
        ...

    def remove_tenant(self, tenant: TenantId, *, limit: int) -> int:
        """Remove up to `limit` contents of the tenant, however new, and its place with the last; return how many.

        For a tenant that exists no more. Call it again while it returns `limit`.
        """
        ...
