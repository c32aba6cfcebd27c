"""Blobs are durable, apart by tenant, and never half there."""

import errno
import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest

from core.blobs import BlobStore, DirectoryBlobs
from core.errors import NotFound, PayloadTooLarge, StorageFull
from core.ids import TenantId

ALPHA, BETA = TenantId("alpha"), TenantId("beta")


@pytest.fixture(name="blobs")
def directory_blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"", b"hello", os.urandom(3_000_000)], ids=["empty", "short", "long"])
def test_what_was_put_is_read_again(blobs: DirectoryBlobs, content: bytes) -> None:
    store: BlobStore = blobs
    blob = store.put(ALPHA, BytesIO(content))
    assert (blob.hash, blob.size) == (sha256(content).hexdigest(), len(content))
    assert store.put(ALPHA, content) == blob
    assert store.read(ALPHA, blob.hash) == content
    with store.open(ALPHA, blob.hash) as file:
        assert file.read() == content
    path = store.path(ALPHA, blob.hash)
    assert path is not None
    assert path.read_bytes() == content
    assert list(store.list(ALPHA)) == [blob]


def test_tenants_do_not_see_each_others_bytes(blobs: DirectoryBlobs) -> None:
    blob = blobs.put(ALPHA, b"secret")
    with pytest.raises(NotFound):
        blobs.read(BETA, blob.hash)
    assert list(blobs.list(BETA)) == []
    assert blobs.delete(BETA, blob.hash)
    assert blobs.read(ALPHA, blob.hash) == b"secret"


@pytest.mark.parametrize("tenant", ["..", ".", "../x", "/etc", "a/b", "", ".tmp", "A" * 300, "\x00"], ids=ascii)
def test_a_tenants_name_never_leads_out_of_the_folder(tmp_path: Path, tenant: str) -> None:
    blobs = DirectoryBlobs(tmp_path / "deep" / "blobs")
    blob = blobs.put(TenantId(tenant), b"x")
    path = blobs.path(TenantId(tenant), blob.hash)
    assert path is not None
    assert path.resolve().is_relative_to((tmp_path / "deep" / "blobs").resolve())
    assert [file.name for file in _files(tmp_path)] == [blob.hash]
    assert blobs.sweep(min_age_seconds=0) == 0


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_what_is_no_hash_is_not_found(blobs: DirectoryBlobs, name: str) -> None:
    with pytest.raises(NotFound):
        blobs.open(ALPHA, name)


def test_too_many_bytes_are_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    with pytest.raises(PayloadTooLarge):
        blobs.put(ALPHA, b"x" * 11, max_bytes=10)
    assert _files(tmp_path) == []
    assert blobs.put(ALPHA, b"x" * 10, max_bytes=10).size == 10


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
def test_a_full_disk_is_said_to_be_one_and_nothing_is_kept(tmp_path: Path, number: int) -> None:
    with pytest.raises(StorageFull):
        DirectoryBlobs(tmp_path).put(ALPHA, _BreaksAfter(OSError(number, os.strerror(number))))
    assert _files(tmp_path) == []


def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
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


def test_deleting_spares_what_was_written_or_kept_lately(blobs: DirectoryBlobs) -> None:
    blob = blobs.put(ALPHA, b"content")
    path = blobs.path(ALPHA, blob.hash)
    assert path is not None
    assert not blobs.delete(ALPHA, blob.hash, min_age_seconds=3_600)
    os.utime(path, (0, 0))
    assert blobs.keep(ALPHA, blob.hash)
    assert not blobs.delete(ALPHA, blob.hash, min_age_seconds=3_600)
    os.utime(path, (0, 0))
    assert blobs.put(ALPHA, b"content") == blob
    assert not blobs.delete(ALPHA, blob.hash, min_age_seconds=3_600)
    os.utime(path, (0, 0))
    assert blobs.delete(ALPHA, blob.hash, min_age_seconds=3_600)
    assert not blobs.keep(ALPHA, blob.hash)
    assert blobs.path(ALPHA, blob.hash) is None
    assert blobs.delete(ALPHA, blob.hash)


def test_whoever_has_content_is_known_and_removed_whole_however_new_it_is(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    for number in range(5):
        blobs.put(ALPHA, bytes([number]))
    kept = blobs.put(BETA, b"kept")
    assert set(blobs.tenants()) == {ALPHA, BETA}
    assert [blobs.remove_tenant(ALPHA, limit=3) for _ in range(3)] == [3, 2, 0]
    assert list(blobs.tenants()) == [BETA]
    assert not (tmp_path / ALPHA).exists()
    assert list(blobs.list(BETA)) == [kept]


def test_removing_a_tenants_content_leaves_files_that_are_not_the_stores(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    blob = blobs.put(ALPHA, b"content")
    note = tmp_path / ALPHA / blob.hash[:2] / "note.txt"
    note.write_text("mine")
    assert list(blobs.list(ALPHA)) == [blob]
    assert blobs.remove_tenant(ALPHA, limit=9) == 1
    assert _files(tmp_path) == [note]
