import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.db.session import Database, sqlite_url
from core.domain import DocumentState, StageName
from core.ids import DocumentId
from core.intake import UploadRequest
from ingestion.worker import _Activity, _loop
from tests.ingestion.conftest import Logged
from tests.ingestion.works import Works, story

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"
SECONDS = 60.0

PARENT = """
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-P", "-m", "ingestion.worker", "--data", sys.argv[1],
                           "--parent", str(os.getpid())])
print(worker.pid, flush=True)
time.sleep(600)
"""


def test_a_loop_goes_on_after_an_error_and_ends_when_told(logged: Logged) -> None:
    stopping = threading.Event()
    calls: list[int] = []

    def run() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("odd")
        stopping.set()
        return 1

    _loop(run, _Activity(), stopping)

    assert len(calls) == 2
    assert [event["event"] for event in logged] == ["worker_loop_failed"]


def test_a_loop_that_found_work_looks_for_more_at_once() -> None:
    stopping = threading.Event()
    left = iter(range(1_000))

    def run() -> int:
        if next(left, None) is None:
            stopping.set()
            return 0
        return 1

    started = time.monotonic()
    _loop(run, _Activity(), stopping)
    assert time.monotonic() - started < 10  # A pause of a poll after each would take 100 s.


def test_nobody_is_idle_while_something_is_worked_on() -> None:
    activity = _Activity()
    time.sleep(0.02)
    assert activity.idle_seconds() >= 0.02
    with activity:
        time.sleep(0.02)
        assert activity.idle_seconds() == 0
        activity.worked()
    assert activity.idle_seconds() < 0.02


@pytest.fixture
def installation(tmp_path: Path, logged: Logged) -> Iterator[Works]:
    """A data directory as a worker child expects it; documents in it, nothing done yet."""
    assert not logged
    database = Database(sqlite_url(tmp_path))
    database.upgrade()
    works = Works(database, tmp_path)
    yield works
    works.close()
    database.close()


def _environment(**settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    return clean | {"FOOTNOTE_EMBEDDER": "hashing:32", "FOOTNOTE_WORKER_IDLE_SECONDS": "0.5"} | settings


@contextmanager
def _worker(works: Works, *, parent: int | None = None, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ["--data", str(works.folder), "--parent", str(os.getpid() if parent is None else parent)]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "ingestion.worker", *arguments], env=_environment(**settings)
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _done(works: Works, document: DocumentId, name: StageName) -> bool:
    return works.stage(document, name).state == "done"


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


@pytest.mark.slow
def test_a_worker_takes_real_files_up_to_the_index_and_ends_when_idle(installation: Works) -> None:
    works = installation
    documents = [
        works.intake.upload(
            works.principal("ann"),
            UploadRequest(name=path.relative_to(SAMPLES).as_posix(), source="samples"),
            path.read_bytes(),
        ).document
        for path in sorted(SAMPLES.rglob("*"))
        if path.is_file()
    ]
    with _worker(works) as process:
        assert process.wait(SECONDS) == 0

    assert {works.stage(document, StageName.EMBED).state for document in documents} == {"done"}
    works.loop.run_once()
    assert {works.status(document).state for document in documents} == {DocumentState.SEARCHABLE}
    assert works.points() == dict.fromkeys(works.chunks(), 1)


@pytest.mark.slow
def test_a_worker_told_to_stop_gives_its_work_back_or_finishes_it(installation: Works) -> None:
    works = installation
    documents = [works.upload(story(f"topic {number}"), f"{number}.txt") for number in range(16)]
    with _worker(works) as process:
        _wait_for(lambda: _done(works, documents[0], StageName.PARSE))
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0

    assert not [document for document in documents if works.status(document).state is DocumentState.LEASED]
    with _worker(works) as process:
        assert process.wait(SECONDS) == 0
    assert {works.stage(document, StageName.EMBED).state for document in documents} == {"done"}


@pytest.mark.slow
def test_a_worker_of_another_parent_touches_nothing(installation: Works) -> None:
    document = installation.upload(story("tea"))
    with _worker(installation, parent=1) as process:
        assert process.wait(SECONDS) == 0

    assert installation.stage(document, StageName.PARSE).attempt == 0


@pytest.mark.slow
def test_a_worker_gives_way_to_everybody_and_dies_with_its_parent(installation: Works) -> None:
    works = installation
    document = works.upload(story("tea"))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(works.folder)],
        stdout=subprocess.PIPE,
        env=_environment(FOOTNOTE_WORKER_IDLE_SECONDS="600"),
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        _wait_for(lambda: _done(works, document, StageName.PARSE))
        assert os.sched_getscheduler(pid) == os.SCHED_IDLE
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        family = [pid, *_descendants(pid)]
        assert len(family) > 1  # The parser's fork server.
        parent.kill()
        parent.wait()
        _wait_for(lambda: not any(_lives(one) for one in family))


@pytest.mark.slow
def test_a_file_that_cannot_be_read_fails_with_its_reason_beside_good_ones(installation: Works) -> None:
    works = installation
    good = works.upload(story("tea"), "good.txt")
    bad = works.intake.upload(
        works.principal("ann"), UploadRequest(name="bad.pdf", source="files"), b"%PDF-1.7\n" + bytes(range(256)) * 20
    ).document
    with _worker(works) as process:
        assert process.wait(SECONDS) == 0

    assert works.stage(good, StageName.EMBED).state == "done"
    status = works.status(bad)
    assert (status.state, status.stage) == (DocumentState.FAILED, StageName.PARSE)
    assert status.reason == "corrupt"
    assert status.detail
