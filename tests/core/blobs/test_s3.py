"""S3 that is killed, stalled, full or refuses: a typed error, nothing accepted, and the next try works."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import obstore
import pytest
from pydantic import SecretStr

from core.blobs.s3 import S3Blobs, _Written, connect
from core.errors import StorageFull, Unavailable
from core.ids import TenantId
from core.settings import Settings
from footnote.topology.servers import free_port
from tests.object_store import Swift, settings_of

ALPHA = TenantId("alpha")
HOUR = 3_600.0
KEY = SecretStr("something")


@pytest.fixture(name="settings")
def settings_with_a_prefix_of_their_own(swift: Swift) -> Settings:
    return settings_of(swift, uuid4().hex)


@pytest.fixture(name="blobs")
def s3_blobs(settings: Settings, tmp_path: Path) -> S3Blobs:
    return connect(settings, tmp_path / "copies")


@pytest.fixture(name="hasty")
def s3_blobs_that_give_up_soon(settings: Settings, tmp_path: Path) -> S3Blobs:
    """The same blobs, for what is asked of a service that does not answer."""
    return connect(settings, tmp_path / "hasty", answer_seconds=5.0)


def _nothing_is_left(blobs: S3Blobs, tmp_path: Path) -> bool:
    return list(blobs.list(ALPHA)) == [] and not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.slow
def test_a_service_killed_in_the_middle_of_an_upload_accepts_nothing_and_the_next_try_works(
    swift: Swift, blobs: S3Blobs, tmp_path: Path
) -> None:
    content = os.urandom(20_000_000)
    swift.send("object", signal.SIGSTOP)  # The upload waits in its first part.
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(blobs.put, ALPHA, content)
        time.sleep(0.5)
        assert not upload.done()
        swift.kill("proxy")
        swift.send("object", signal.SIGCONT)
        with pytest.raises(Unavailable):
            upload.result(60)
    swift.restart("proxy")

    assert _nothing_is_left(blobs, tmp_path)
    blob = blobs.put(ALPHA, content)
    assert blobs.read(ALPHA, blob.hash) == content


@pytest.mark.slow
def test_a_service_that_stalls_is_given_up_after_the_time_of_one_answer(
    swift: Swift, blobs: S3Blobs, hasty: S3Blobs, tmp_path: Path
) -> None:
    kept = blobs.put(ALPHA, b"kept")
    swift.send("proxy", signal.SIGSTOP)
    try:
        begin = time.monotonic()
        for ask in (lambda: hasty.put(ALPHA, b"new"), lambda: hasty.read(ALPHA, kept.hash)):
            with pytest.raises(Unavailable):
                ask()
        assert time.monotonic() - begin < 2 * (5.0 + 10.0)
    finally:
        swift.send("proxy", signal.SIGCONT)

    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    assert blobs.read(ALPHA, kept.hash) == b"kept"
    assert blobs.read(ALPHA, blobs.put(ALPHA, b"new").hash) == b"new"


@pytest.mark.slow
def test_a_service_whose_disk_is_full_accepts_nothing_until_there_is_room(
    swift: Swift, blobs: S3Blobs, tmp_path: Path
) -> None:
    swift.reserve("100%")
    try:
        with pytest.raises((StorageFull, Unavailable)):
            blobs.put(ALPHA, b"content")
        assert _nothing_is_left(blobs, tmp_path)
    finally:
        swift.reserve("0")

    assert blobs.read(ALPHA, blobs.put(ALPHA, b"content").hash) == b"content"


@pytest.mark.slow
def test_a_service_that_refuses_connections_is_not_available(tmp_path: Path) -> None:
    settings = Settings(
        blobs="s3://bucket", s3_endpoint=f"http://127.0.0.1:{free_port()}", s3_access_key="a", s3_secret_key=KEY
    )
    blobs = connect(settings, tmp_path)

    for ask in (
        lambda: blobs.put(ALPHA, b"x"),
        lambda: blobs.read(ALPHA, "0" * 64),
        lambda: list(blobs.list(ALPHA)),
        lambda: list(blobs.tenants()),
        lambda: blobs.keep(ALPHA, "0" * 64),
        lambda: blobs.delete(ALPHA, "0" * 64),
    ):
        with pytest.raises(Unavailable):
            ask()


class _Full(BaseHTTPRequestHandler):
    """Answers as MinIO does when its disks are full."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<Error><Code>XMinioStorageFull</Code><Message>Storage backend is full.</Message></Error>"
        self.send_response(507)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(name="full")
def service_that_says_it_is_full() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Full) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_service_that_says_it_is_full_is_told_apart(full: str, tmp_path: Path) -> None:
    settings = Settings(blobs="s3://bucket", s3_endpoint=full, s3_access_key="a", s3_secret_key=KEY)

    with pytest.raises(StorageFull):
        connect(settings, tmp_path).put(ALPHA, b"x")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "told"),
    [({"s3_secret_key": SecretStr("wrong")}, "key"), ({"blobs": "s3://no-such-bucket/x"}, "bucket")],
    ids=["wrong key", "no bucket"],
)
def test_a_wrong_key_or_bucket_is_said_to_be_one(
    settings: Settings, tmp_path: Path, values: dict[str, object], told: str
) -> None:
    blobs = connect(settings.model_copy(update=values), tmp_path)

    with pytest.raises(Unavailable, match=told):
        blobs.put(ALPHA, b"x")
    with pytest.raises(Unavailable, match=told):
        blobs.read(ALPHA, "0" * 64)


@pytest.mark.slow
def test_content_that_was_changed_in_the_store_is_never_given_out(blobs: S3Blobs, tmp_path: Path) -> None:
    blob = blobs.put(ALPHA, b"content")
    (written,) = blobs._written(ALPHA, blob.hash)
    obstore.put(blobs._store, written.key, b"CONTENT")

    with pytest.raises(Unavailable, match="backup"):
        blobs.path(ALPHA, blob.hash)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.slow
def test_what_is_put_while_its_old_object_is_being_deleted_stays(settings: Settings, tmp_path: Path) -> None:
    uploader = connect(settings, tmp_path / "uploader")
    blob = uploader.put(ALPHA, b"content")

    class Interrupted(S3Blobs):
        def _remove(self, written: list[_Written]) -> None:  # type: ignore[override]  # it is given lists
            uploader.put(ALPHA, b"content")
            super()._remove(written)

    seen = connect(settings, tmp_path / "collector")
    later = Interrupted(seen._store, prefix=seen._prefix, copies=seen._copies, now=lambda: time.time() + 2 * HOUR)

    assert not later.delete(ALPHA, blob.hash, min_age_seconds=HOUR)
    assert uploader.read(ALPHA, blob.hash) == b"content"


@pytest.mark.slow
def test_of_many_writers_at_once_one_object_is_left(settings: Settings, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        stores = [connect(settings, tmp_path / str(number)) for number in range(6)]
        hashes = {blob.hash for blob in pool.map(lambda store: store.put(ALPHA, b"content"), stores)}

    assert hashes == {sha256(b"content").hexdigest()}
    stores[0].put(ALPHA, b"content")
    assert len(stores[0]._written(ALPHA, *hashes)) == 1
    assert [store.read(ALPHA, *hashes) for store in stores] == [b"content"] * 6
