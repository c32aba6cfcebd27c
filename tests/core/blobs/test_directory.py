"""What is special about blobs in a folder; what every store does is in `tests/contracts/test_blob_store.py`."""

import errno
import os
from io import BytesIO
from pathlib import Path

import pytest

from core.blobs import DirectoryBlobs
from core.errors import StorageFull
from core.ids import TenantId

ALPHA = TenantId("alpha")


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("tenant", ["..", ".", "../x", "/etc", "a/b", "", ".tmp", "A" * 300, "\x00"], ids=ascii)
def test_a_tenants_name_never_leads_out_of_the_folder(tmp_path: Path, tenant: str) -> None:
    blobs = DirectoryBlobs(tmp_path / "deep" / "blobs")
    blob = blobs.put(TenantId(tenant), b"x")
    path = blobs.path(TenantId(tenant), blob.hash)
    assert path is not None
    assert path.resolve().is_relative_to((tmp_path / "deep" / "blobs").resolve())
    assert [file.name for file in _files(tmp_path)] == [blob.hash]
    assert blobs.sweep(min_age_seconds=0) == 0


class _BreaksAfter(BytesIO):
    """A stream that fails after its first piece, as a lost connection or a full disk does."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._pieces = [b"some bytes"]
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 - BytesIO's signature
        if self._pieces:
            return self._pieces.pop()
        raise self._error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_f1_a_full_disk_is_said_to_be_one_and_nothing_is_kept(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageFull):
        DirectoryBlobs(tmp_path).put(ALPHA, _BreaksAfter(OSError(number, os.strerror(number))))
    assert _files(tmp_path) == []


def test_f1_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        DirectoryBlobs(tmp_path).put(ALPHA, _BreaksAfter(ConnectionResetError()))
    assert _files(tmp_path) == []


def test_sweep_removes_what_a_crashed_writer_left_and_nothing_younger(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    kept = blobs.put(ALPHA, b"kept")
    for name, age in (("old", 7_200), ("young", 10)):
        file = tmp_path / ".tmp" / name
        file.write_bytes(b"half")
        stamp = file.stat().st_mtime - age
        os.utime(file, (stamp, stamp))
    assert blobs.sweep() == 1
    assert sorted(file.name for file in _files(tmp_path)) == sorted([kept.hash, "young"])


def test_removing_a_tenants_content_leaves_files_that_are_not_the_stores(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blob = blobs.put(ALPHA, b"content")
    note = tmp_path / ALPHA / blob.hash[:2] / "note.txt"
    note.write_text("mine")
    assert list(blobs.list(ALPHA)) == [blob]
    assert blobs.remove_tenant(ALPHA, limit=9) == 1
    assert _files(tmp_path) == [note]
