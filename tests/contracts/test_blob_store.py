"""One suite for every blob store: a folder, and S3 over a real wire."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from core.blobs import BlobStore, DirectoryBlobs, open_blobs
from core.blobs.s3 import S3Blobs
from core.errors import NotFound, PayloadTooLarge
from core.ids import TenantId
from core.settings import Settings
from tests.object_store import named_settings, settings_of

ALPHA, BETA = TenantId("alpha"), TenantId("beta")
HOUR = 3_600.0
TENANTS = ["..", ".", "../x", "/etc", "a/b", "", ".tmp", "A" * 300, "\x00", "~" + "0" * 64]


@dataclass(frozen=True)
class Subject:
    """A store, and what makes everything in it look two hours older than it is."""

    store: BlobStore
    age: Callable[[], None]
    again: Callable[[], BlobStore]


@pytest.fixture(params=["directory", pytest.param("s3", marks=pytest.mark.slow)], name="subject")
def every_store(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    if request.param == "directory":
        folder = tmp_path / "blobs"
        return Subject(DirectoryBlobs(folder), lambda: _age_files(folder), lambda: DirectoryBlobs(folder))
    prefix = f"contract/{uuid4().hex}"
    settings = named_settings(prefix) or settings_of(request.getfixturevalue("swift"), prefix)
    hours = [0]
    folders = count()

    def open_one() -> BlobStore:
        return _with_clock(settings, tmp_path / f"machine-{next(folders)}", lambda: hours[0] * HOUR)

    return Subject(open_one(), lambda: hours.__setitem__(0, hours[0] + 2), open_one)


@pytest.fixture(name="store")
def any_store(subject: Subject) -> BlobStore:
    return subject.store


def _with_clock(settings: Settings, data: Path, later: Callable[[], float]) -> BlobStore:
    store = open_blobs(settings, data)
    assert isinstance(store, S3Blobs)
    clock = store._now
    store._now = lambda: clock() + later()
    return store


def _age_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            then = file.stat().st_mtime - 2 * HOUR
            os.utime(file, (then, then))


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", os.urandom(3_000_000), os.urandom(20_000_000)],
    ids=["empty", "short", "long", "in several parts"],
)
def test_what_was_put_is_read_again(store: BlobStore, content: bytes) -> None:
    blob = store.put(ALPHA, BytesIO(content))

    assert (blob.hash, blob.size) == (sha256(content).hexdigest(), len(content))
    assert store.put(ALPHA, content) == blob
    assert store.has(ALPHA, blob.hash)
    assert store.read(ALPHA, blob.hash) == content
    with store.open(ALPHA, blob.hash) as file:
        assert file.read() == content
    path = store.path(ALPHA, blob.hash)
    assert path is not None
    assert path.read_bytes() == content
    assert list(store.list(ALPHA)) == [blob]


def test_what_one_process_has_put_another_reads_and_deletes(subject: Subject) -> None:
    blob = subject.store.put(ALPHA, b"content")
    other = subject.again()

    assert other.read(ALPHA, blob.hash) == b"content"
    assert other.delete(ALPHA, blob.hash)

    assert not subject.store.has(ALPHA, blob.hash)
    assert subject.store.path(ALPHA, blob.hash) is None


def test_what_is_deleted_elsewhere_is_not_read_from_a_copy(subject: Subject) -> None:
    blob = subject.store.put(ALPHA, b"content")
    assert subject.store.read(ALPHA, blob.hash) == b"content"

    subject.again().delete(ALPHA, blob.hash)

    with pytest.raises(NotFound):
        subject.store.read(ALPHA, blob.hash)


def test_tenants_do_not_see_each_others_bytes(store: BlobStore) -> None:
    blob = store.put(ALPHA, b"secret")

    with pytest.raises(NotFound):
        store.read(BETA, blob.hash)
    assert list(store.list(BETA)) == []
    assert not store.has(BETA, blob.hash)
    assert not store.keep(BETA, blob.hash)
    assert store.delete(BETA, blob.hash)
    assert store.read(ALPHA, blob.hash) == b"secret"


@pytest.mark.parametrize("tenant", TENANTS, ids=ascii)
def test_any_name_of_a_tenant_has_a_place_of_its_own(store: BlobStore, tenant: str) -> None:
    other = store.put(ALPHA, b"of another")
    blob = store.put(TenantId(tenant), b"x")

    assert store.read(TenantId(tenant), blob.hash) == b"x"
    assert list(store.list(TenantId(tenant))) == [blob]
    assert list(store.list(ALPHA)) == [other]
    assert set(store.tenants()) == {ALPHA}
    assert store.delete(TenantId(tenant), blob.hash)
    assert list(store.list(TenantId(tenant))) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_what_is_no_hash_is_not_found(store: BlobStore, name: str) -> None:
    for look in (store.open, store.read, store.path, store.has, store.keep):
        with pytest.raises(NotFound):
            look(ALPHA, name)


def test_too_many_bytes_are_refused_and_nothing_is_kept(store: BlobStore) -> None:
    with pytest.raises(PayloadTooLarge):
        store.put(ALPHA, b"x" * 11, max_bytes=10)
    assert list(store.list(ALPHA)) == []
    assert store.put(ALPHA, b"x" * 10, max_bytes=10).size == 10


class _Breaks(BytesIO):
    """A stream that fails after its first piece, as a lost connection does."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces = [b"some bytes"]

    def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 - BytesIO's signature
        if self._pieces:
            return self._pieces.pop()
        raise ConnectionResetError


def test_a_stream_that_breaks_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises(ConnectionResetError):
        store.put(ALPHA, _Breaks())

    assert list(store.list(ALPHA)) == []
    assert not store.has(ALPHA, sha256(b"some bytes").hexdigest())
    assert store.sweep(min_age_seconds=0) == 0


def test_deleting_spares_what_was_written_or_kept_lately(subject: Subject) -> None:
    store = subject.store
    blob = store.put(ALPHA, b"content")
    assert not store.delete(ALPHA, blob.hash, min_age_seconds=HOUR)
    subject.age()
    assert store.keep(ALPHA, blob.hash)
    assert not store.delete(ALPHA, blob.hash, min_age_seconds=HOUR)
    subject.age()
    assert store.put(ALPHA, b"content") == blob
    assert not store.delete(ALPHA, blob.hash, min_age_seconds=HOUR)
    assert store.read(ALPHA, blob.hash) == b"content"
    subject.age()
    assert store.delete(ALPHA, blob.hash, min_age_seconds=HOUR)
    assert not store.keep(ALPHA, blob.hash)
    assert store.path(ALPHA, blob.hash) is None
    assert store.delete(ALPHA, blob.hash)


def test_whoever_has_content_is_known_and_removed_whole_however_new_it_is(store: BlobStore) -> None:
    for number in range(5):
        store.put(ALPHA, bytes([number]))
    kept = store.put(BETA, b"kept")

    assert set(store.tenants()) == {ALPHA, BETA}
    assert [store.remove_tenant(ALPHA, limit=3) for _ in range(3)] == [3, 2, 0]
    assert list(store.tenants()) == [BETA]
    assert list(store.list(BETA)) == [kept]


def test_uploads_that_race_with_collecting_keep_what_they_were_told_is_kept(subject: Subject) -> None:
    """Uploaders put and keep; a collector removes what is old. Who hears that it is kept can read it."""
    content = b"the same bytes again"
    hash_ = sha256(content).hexdigest()
    subject.store.put(ALPHA, content)
    collector = subject.again()
    for _ in range(8):
        subject.age()
        collecting = threading.Thread(
            target=lambda: [collector.delete(ALPHA, hash_, min_age_seconds=HOUR) for _ in range(3)]
        )
        collecting.start()
        subject.store.put(ALPHA, content)
        kept = subject.store.keep(ALPHA, hash_)
        collecting.join()
        if kept:
            assert subject.store.read(ALPHA, hash_) == content
