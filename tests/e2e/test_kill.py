"""Promise 2: every step may be killed anywhere, and the outcome is as if it ran once."""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from core.db.releases import live_release
from core.db.session import Database, sqlite_url
from core.db.tables import ChunkRow
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
    found = Counter(UUID(str(chunk)) for _, _, _, chunk in index.scan())
    index.close()
    return found
