"""Local copies of contents that lie with a service: bounded, private, and gone an hour after their last use."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from core.blobs.files import FULL, folder_name, remove_old_files
from core.blobs.port import TOO_FULL
from core.errors import StorageFull
from core.ids import TenantId

IN_USE_SECONDS = 60.0  # Whoever was given a copy's path opens it within this time.
KEPT_SECONDS = 3_600.0  # What is deleted at the service is not kept here for much longer than this.


class LocalCopies:
    """Files `ROOT/<tenant>/<hash>`, whose time stamps tell when they were last used.

    Several processes may share the folder. It holds at most `max_bytes`, and what was used within the last minute.
    """

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self._root = root
        self._temporary = root / ".tmp"
        self._max_bytes = max_bytes
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)  # Whatever made it: nobody else on this machine reads what people uploaded.
        self._temporary.mkdir(exist_ok=True)

    def find(self, tenant: TenantId, hash_: str) -> Path | None:
        """Return the copy, which now counts as used; None if there is none."""
        file = self._file(tenant, hash_)
        try:
            os.utime(file)
        except FileNotFoundError:
            return None
        return file

    @contextlib.contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """Yield a new file for the length of the block; nobody else may read it.

        :raises StorageFull: the disk is full.
        """
        path = self._temporary / uuid4().hex
        try:
            with open(path, "x+b", opener=_private) as file:
                yield file
        except OSError as error:
            if error.errno in FULL:
                raise StorageFull(TOO_FULL) from error
            raise
        finally:
            path.unlink(missing_ok=True)

    def keep(self, tenant: TenantId, hash_: str, scratch: BinaryIO) -> Path:
        """Make the scratch file, complete as it is, the copy of this content; return its path."""
        scratch.flush()
        os.fsync(scratch.fileno())  # A crash of the machine must not leave a copy with holes.
        target = self._file(tenant, hash_)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        Path(scratch.name).replace(target)
        self._make_room()
        return target

    def forget(self, tenant: TenantId, hash_: str) -> None:
        """Remove the copy, if there is one."""
        self._file(tenant, hash_).unlink(missing_ok=True)

    def sweep(self, *, min_age_seconds: float) -> int:
        """Remove what crashed processes left behind, and copies that nobody used lately; return how many files."""
        return remove_old_files(self._temporary, min_age_seconds=min_age_seconds) + self._make_room()

    def _make_room(self) -> int:
        """Remove what is not used any more, then what was used least lately as long as it is too much."""
        found = []
        for file in self._root.glob("[!.]*/*"):
            with contextlib.suppress(FileNotFoundError):
                facts = file.stat()
                found.append((facts.st_mtime, facts.st_size, file))
        total, now, removed = sum(size for _, size, _ in found), time.time(), 0
        for used, size, file in sorted(found):
            age = now - used
            if age < IN_USE_SECONDS or (age < KEPT_SECONDS and total <= self._max_bytes):
                break
            file.unlink(missing_ok=True)
            total -= size
            removed += 1
        return removed

    def _file(self, tenant: TenantId, hash_: str) -> Path:
        return self._root / folder_name(tenant) / hash_


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
