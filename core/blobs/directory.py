"""Blobs in a folder, on one machine or on a file system that all machines share."""

import contextlib
import os
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from core.blobs.files import FULL, copy_hashed, folder_name, remove_old_files
from core.blobs.port import GONE, HASH, PLAIN_TENANT, TOO_FULL, StoredBlob
from core.errors import NotFound, StorageFull
from core.ids import TenantId


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
                blob = copy_hashed(BytesIO(content) if isinstance(content, bytes) else content, file, max_bytes)
                file.flush()
                os.fsync(file.fileno())
            target = self._file(tenant, blob.hash)
            self._make_folder(target.parent)
            temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            if error.errno in FULL:
                raise StorageFull(TOO_FULL) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return blob

    def open(self, tenant: TenantId, hash: str) -> BinaryIO:  # noqa: A002
        try:
            return self._file(tenant, hash).open("rb")
        except FileNotFoundError as error:
            raise NotFound(GONE) from error

    def read(self, tenant: TenantId, hash: str) -> bytes:  # noqa: A002
        with self.open(tenant, hash) as file:
            return file.read()

    def path(self, tenant: TenantId, hash: str) -> Path | None:  # noqa: A002
        file = self._file(tenant, hash)
        return file if file.exists() else None

    def has(self, tenant: TenantId, hash: str) -> bool:  # noqa: A002
        return self._file(tenant, hash).exists()

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
            if not HASH.fullmatch(file.name):
                continue  # Somebody else's file; nobody asks for it, and it must not end the collecting of the others.
            with contextlib.suppress(FileNotFoundError):
                yield StoredBlob(hash=file.name, size=file.stat().st_size)

    def tenants(self) -> Iterator[TenantId]:
        # A folder named by a hash does not tell its tenant; but then nobody could have added one of that name.
        for folder in self._root.iterdir():
            if PLAIN_TENANT.fullmatch(folder.name) and folder.is_dir():
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
        return remove_old_files(self._temporary, min_age_seconds=min_age_seconds)

    def _tenant_folder(self, tenant: TenantId) -> Path:
        return self._root / folder_name(tenant)

    def _file(self, tenant: TenantId, hash: str) -> Path:  # noqa: A002
        if not HASH.fullmatch(hash):
            raise NotFound(GONE)
        return self._tenant_folder(tenant) / hash[:2] / hash

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
        _sync_folder(self._root)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
