"""Stored bytes, by the SHA-256 of their content, each tenant's apart: deduplication never crosses tenants."""

import contextlib
import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import uuid4

from core.errors import NotFound, PayloadTooLarge, StorageFull
from core.ids import TenantId

_PIECE = 1 << 20
_HASH = re.compile(r"[0-9a-f]{64}")
_PLAIN_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlob:
    """Bytes that are durable: `hash` is their SHA-256 in hex, `size` their number."""

    hash: str
    size: int


class BlobStore(Protocol):
    """Keeps bytes under their hash. What it returned from `put` survives a crash of the machine."""

    def put(self, tenant: TenantId, content: bytes | BinaryIO, *, max_bytes: int | None = None) -> StoredBlob:
        """Store the content and return once it is durable; the same content again is no error.

        Raises `PayloadTooLarge` beyond `max_bytes` and `StorageFull`; nothing is kept then.
        """
        ...

    def open(self, tenant: TenantId, hash: str) -> BinaryIO:  # noqa: A002 - the word for it
        """Return the content as a stream, to be closed by the caller. Raises `NotFound`."""
        ...

    def read(self, tenant: TenantId, hash: str) -> bytes:  # noqa: A002
        """Return the content. Raises `NotFound`."""
        ...

    def path(self, tenant: TenantId, hash: str) -> Path | None:  # noqa: A002
        """Return the file that holds the content, for programs that need one; None if there is no such file."""
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

    def remove_tenant(self, tenant: TenantId, *, limit: int) -> int:
        """Remove up to `limit` contents of the tenant, however new, and its place with the last; return how many.

        For a tenant that exists no more. Call it again while it returns `limit`.
        """
        ...


class DirectoryBlobs:
    """Blobs as files `ROOT/<tenant>/<first two of the hash>/<hash>`.

    A blob is written to a temporary file, synced, renamed, and its folder synced: a crash leaves at most a temporary
    file, which `sweep` removes. Writing what exists replaces the file, so that its time stamp tells `delete` of it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / ".tmp"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)  # Whatever made it: nobody else on this machine reads what people uploaded.
        self._temporary.mkdir(exist_ok=True)

    def put(self, tenant: TenantId, content: bytes | BinaryIO, *, max_bytes: int | None = None) -> StoredBlob:
        temporary = self._temporary / uuid4().hex
        try:
            with temporary.open("xb") as file:
                blob = _copy(BytesIO(content) if isinstance(content, bytes) else content, file, max_bytes)
                file.flush()
                os.fsync(file.fileno())
            target = self._file(tenant, blob.hash)
            self._make_folder(target.parent)
            temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            if error.errno in _FULL:
                raise StorageFull("The disk is full: nothing was accepted. Free some space and try again.") from error
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return blob

    def open(self, tenant: TenantId, hash: str) -> BinaryIO:  # noqa: A002
        try:
            return self._file(tenant, hash).open("rb")
        except FileNotFoundError as error:
            raise NotFound("The stored content does not exist (any more).") from error

    def read(self, tenant: TenantId, hash: str) -> bytes:  # noqa: A002
        with self.open(tenant, hash) as file:
            return file.read()

    def path(self, tenant: TenantId, hash: str) -> Path | None:  # noqa: A002
        file = self._file(tenant, hash)
        return file if file.exists() else None

    def keep(self, tenant: TenantId, hash: str) -> bool:  # noqa: A002
        try:
            os.utime(self._file(tenant, hash))
        except FileNotFoundError:
            return False
        return True

    def delete(self, tenant: TenantId, hash: str, *, min_age_seconds: float = 0.0) -> bool:  # noqa: A002
        # The file is moved away first and judged then: an upload that replaced it meanwhile is seen and put back.
        file = self._file(tenant, hash)
        condemned = self._temporary / uuid4().hex
        try:
            file.rename(condemned)
        except FileNotFoundError:
            return True
        if min_age_seconds > 0 and time.time() - condemned.stat().st_mtime < min_age_seconds:
            condemned.rename(file)  # The same content, whatever may have been written there meanwhile.
            return False
        condemned.unlink()
        return not file.exists()

    def list(self, tenant: TenantId) -> Iterator[StoredBlob]:
        for file in self._tenant_folder(tenant).glob("??/*"):
            if not _HASH.fullmatch(file.name):
                continue  # Somebody else's file; nobody asks for it, and it must not end the collecting of the others.
            with contextlib.suppress(FileNotFoundError):
                yield StoredBlob(hash=file.name, size=file.stat().st_size)

    def tenants(self) -> Iterator[TenantId]:
        # A folder named by a hash does not tell its tenant; but then nobody could have added one of that name.
        for folder in self._root.iterdir():
            if _PLAIN_TENANT.fullmatch(folder.name) and folder.is_dir():
                yield TenantId(folder.name)

    def remove_tenant(self, tenant: TenantId, *, limit: int) -> int:
        removed = 0
        for blob in tuple(islice(self.list(tenant), limit)):
            with contextlib.suppress(FileNotFoundError):
                self._file(tenant, blob.hash).unlink()
                removed += 1
        if removed < limit:
            folder = self._tenant_folder(tenant)
            for place in (*folder.glob("??"), folder):
                with contextlib.suppress(OSError):  # What still holds something stays.
                    place.rmdir()
        return removed

    def sweep(self, *, min_age_seconds: float = 3_600.0) -> int:
        """Remove what crashed writers left behind, and return how many files that were."""
        removed = 0
        for file in self._temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime >= min_age_seconds:
                    file.unlink()
                    removed += 1
        return removed

    def _tenant_folder(self, tenant: TenantId) -> Path:
        # A tenant's name is somebody's input: what is not plainly a folder name is replaced by its hash.
        plain = _PLAIN_TENANT.fullmatch(tenant)
        return self._root / (tenant if plain else f"~{hashlib.sha256(tenant.encode()).hexdigest()}")

    def _file(self, tenant: TenantId, hash: str) -> Path:  # noqa: A002
        if not _HASH.fullmatch(hash):
            raise NotFound("The stored content does not exist (any more).")
        return self._tenant_folder(tenant) / hash[:2] / hash

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
        _sync_folder(self._root)


def _copy(source: BinaryIO, target: BinaryIO, max_bytes: int | None) -> StoredBlob:
    digest = hashlib.sha256()
    size = 0
    while piece := source.read(_PIECE):
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise PayloadTooLarge(f"The file is larger than the {max_bytes:,} bytes that are accepted.")
        digest.update(piece)
        target.write(piece)
    return StoredBlob(hash=digest.hexdigest(), size=size)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
