"""Promise 2: every step may be killed anywhere, and the outcome is as if it ran once."""

import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from core.blobs import DirectoryBlobs
from core.db.releases import live_release
from core.db.session import Database, sqlite_url
from core.db.tables import ChunkRow
from core.ids import DEFAULT_TENANT
from core.intake import Intake
from core.settings import Settings
from retrieval.factory import open_index
from tests.e2e.conftest import SAMPLES, Server, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

KILLS = 20
SHARED = Path(os.environ.get("FOOTNOTE_SHARED", Path(__file__).parents[3] / "shared"))
NORTHWIND = SHARED / "data" / "northwind" / "pdfs"
FINISH_SECONDS = 300.0
DIM = 384

Passages = dict[UUID, tuple[UUID, int, int, int, str]]


def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    folder = NORTHWIND if NORTHWIND.is_dir() else SAMPLES / "documents"
    chance = random.Random(f"{time.time_ns()}")  # noqa: S311 - moments, not secrets
    killed = Server(data=tmp_path / "killed", environment=clean_environment())
    quiet = Server(data=tmp_path / "quiet", environment=clean_environment())
    try:
        killed.start()
        documents = [_upload(killed, path, folder) for path in sorted(folder.rglob("*")) if path.is_file()]
        killed.kill()
        shutil.copytree(killed.data, quiet.data)  # The same documents and versions, so that ids can be compared.

        killed.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 3.0))
            workers = killed.worker_pids()
            if workers and chance.random() < 0.5:
                os.kill(chance.choice(workers), signal.SIGKILL)
            else:
                killed.kill()
                killed.start()
        _wait_until_searchable(killed, documents)
        quiet.start()
        _wait_until_searchable(quiet, documents)
    finally:
        killed.stop()
        quiet.stop()

    disturbed, undisturbed = _passages(killed.data), _passages(quiet.data)
    assert disturbed == undisturbed
    assert len(disturbed) > len(documents)
    assert _points(killed.data) == Counter(dict.fromkeys(disturbed, 1))


def test_f1_a_server_killed_between_blob_and_row_kept_nothing_and_the_upload_can_be_repeated(tmp_path: Path) -> None:
    """The write lock is somebody else's just then, so that the upload stands between its two steps when it dies."""
    server = Server(data=tmp_path / "data", environment=clean_environment(FOOTNOTE_EMBEDDER="hashing:32"))
    content = b"The heron stood in the reeds when the power went.\n" * 20
    stored = server.data / "blobs" / DEFAULT_TENANT / sha256(content).hexdigest()[:2] / sha256(content).hexdigest()
    answers: list[httpx.Response] = []
    headers: dict[str, str] = {}
    url = ""

    def upload() -> None:
        fields, file = {"name": "heron.txt", "source": "kill"}, {"file": ("heron.txt", content)}
        with suppress(httpx.TransportError), httpx.Client(trust_env=False, timeout=60) as http:
            answers.append(http.post(f"{url.rstrip('/')}/v1/documents", data=fields, files=file, headers=headers))

    try:
        server.start()
        url = str(server.http.base_url)
        headers = {"Authorization": server.http.headers["Authorization"], "Idempotency-Key": "heron-1"}
        server.call("POST", "/v1/documents", data={"source": "kill"}, files={"file": ("first.txt", b"The first.")})
        sending = threading.Thread(target=upload)
        with closing(sqlite3.connect(server.data / "catalogue.db", isolation_level=None, timeout=30)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            sending.start()
            while not stored.exists():
                assert sending.is_alive()
                time.sleep(0.01)
            server.kill()
            sending.join()
            writer.rollback()
        assert answers == []

        server.start()
        url = str(server.http.base_url)
        assert [one["name"] for one in server.call("GET", "/v1/documents")["documents"]] == ["first.txt"]
        assert _collected(server.data, older_than=3_600.0) == 0  # An upload of these bytes may be under way.
        os.utime(stored, (time.time() - 7_200,) * 2)
        assert _collected(server.data, older_than=3_600.0) == 1
        assert not stored.exists()

        upload()
        upload()
        assert [answer.status_code for answer in answers] == [202, 202]
        (document,) = {answer.json()["documents"][0]["document"] for answer in answers}
        _wait_until_searchable(server, [document])
        assert stored.exists()
    finally:
        server.stop()


def _collected(data: Path, *, older_than: float) -> int:
    """Do what the server does every ten minutes; return how many blobs without a row went."""
    database = Database(sqlite_url(data))
    try:
        return Intake(database=database, blobs=DirectoryBlobs(data / "blobs"), max_bytes=1).collect(
            older_than=older_than
        )
    finally:
        database.close()


def _upload(server: Server, path: Path, folder: Path) -> str:
    with path.open("rb") as file:
        name = path.relative_to(folder).as_posix()
        answer = server.call(
            "POST", "/v1/documents", data={"name": name, "source": "kill", "allow": "*"}, files={"file": file}
        )
    return str(answer["documents"][0]["document"])


def _wait_until_searchable(server: Server, documents: list[str]) -> None:
    deadline = time.monotonic() + FINISH_SECONDS
    while True:
        states = Counter(server.call("GET", f"/v1/documents/{document}")["state"] for document in documents)
        if states == {"searchable": len(documents)}:
            return
        assert not states["failed"], states
        assert time.monotonic() < deadline, states
        time.sleep(0.2)


def _passages(data: Path) -> Passages:
    database = Database(sqlite_url(data))
    with database.reading() as session:
        rows = session.scalars(select(ChunkRow)).all()
        found = {row.id: (row.version_id, row.ordinal, row.start_offset, row.end_offset, row.text) for row in rows}
    database.close()
    return found


def _points(data: Path) -> Counter[UUID]:
    database = Database(sqlite_url(data))
    with database.reading() as session:
        release = live_release(session)
    database.close()
    assert release is not None
    index = open_index(Settings(), data / "index", release.index_id, DIM)
    found = Counter(UUID(str(stored.chunk)) for stored in index.stored())
    index.close()
    return found
