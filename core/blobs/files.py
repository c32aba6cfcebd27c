"""What every blob store does with local files: copying while hashing, names of folders, leftovers."""

import contextlib
import errno
import hashlib
import time
from pathlib import Path
from typing import BinaryIO

from core.blobs.port import PLAIN_TENANT, StoredBlob
from core.errors import PayloadTooLarge
from core.ids import TenantId

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_PIECE = 1 << 20


def copy_hashed(source: BinaryIO, target: BinaryIO, max_bytes: int | None) -> StoredBlob:
    """Copy the stream and return the hash and size of what it held.

    :raises PayloadTooLarge: it holds more than `max_bytes`; some of it is in the target.
    """
    digest = hashlib.sha256()
    size = 0
    while piece := source.read(_PIECE):
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise PayloadTooLarge(f"The file is larger than the {max_bytes:,} bytes that are accepted.")
        digest.update(piece)
        target.write(piece)
    return StoredBlob(hash=digest.hexdigest(), size=size)


def folder_name(tenant: TenantId) -> str:
    """Return the name of the tenant's folder: what is not plainly one, being somebody's input, is hashed."""
    if PLAIN_TENANT.fullmatch(tenant):
        return tenant
    return f"~{hashlib.sha256(tenant.encode()).hexdigest()}"


def remove_old_files(folder: Path, *, min_age_seconds: float) -> int:
    """Remove the files of the folder that were last written so long ago; return how many."""
    removed = 0
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime >= min_age_seconds:
                file.unlink()
                removed += 1
    return removed
