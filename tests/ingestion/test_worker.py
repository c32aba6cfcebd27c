import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ingestion.worker
from core.db.session import Database, sqlite_url
from core.domain import DocumentState, StageName
from core.ids import DocumentId
from core.intake import UploadRequest
from core.settings import Settings, settings_as_told, told_settings
from ingestion.worker import _Activity, _loop
from tests.ingestion.conftest import Clock, Logged
from tests.ingestion.works import Works, story

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"
SECONDS = 60.0

PARENT = """
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-P", "-m", "ingestion.worker", "--data", sys.argv[1],
                           "--parent", str(os.getpid())], stdin=subprocess.PIPE)
worker.stdin.write(sys.argv[2].encode() + b"\\n")
worker.stdin.flush()
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

    _loop(run, 1, _Activity(), stopping)

    assert len(calls) == 2
    assert [event["event"] for event in logged] == ["worker_loop_failed"]


def test_a_full_turn_is_followed_by_the_next_at_once() -> None:
    stopping = threading.Event()
    left = iter(range(1_000))

    def run() -> int:
        if next(left, None) is None:
            stopping.set()
            return 0
        return 2

    started = time.monotonic()
    _loop(run, 2, _Activity(), stopping)
    assert time.monotonic() - started < 10  # A pause after each would take 100 s at least.


def test_a_turn_that_was_not_full_leaves_some_time_for_more_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion.worker, "GATHER_SECONDS", 0.2)
    stopping = threading.Event()
    began: list[float] = []

    def run() -> int:
        began.append(time.monotonic())
        if len(began) == 3:
            stopping.set()
        return 1

    _loop(run, 2, _Activity(), stopping)
    assert began[1] - began[0] >= 0.1  # The loop's clock starts a little before ours.
    assert began[2] - began[1] >= 0.1


def test_nobody_is_idle_while_something_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(ingestion.worker, "time", clock)
    activity = _Activity()
    clock.now += 20
    assert activity.idle_seconds() == 20
    with activity:
        clock.now += 20
        assert activity.idle_seconds() == 0
        activity.worked()
    assert activity.idle_seconds() == 0
    clock.now += 3
    assert activity.idle_seconds() == 3


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


def _told(works: Works, **settings: Any) -> str:  # noqa: ANN401 - of any type
    given: dict[str, Any] = {"data": works.folder, "embedder": "hashing:32", "worker_idle_seconds": 0.5} | settings
    return told_settings(Settings(**given))


@contextmanager
def _worker(
    works: Works,
    *,
    parent: int | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: Any,  # noqa: ANN401 - of any type
) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ["--data", str(works.folder), "--parent", str(os.getpid() if parent is None else parent)]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "ingestion.worker", *arguments],
        stdin=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            assert process.stdin is not None
            with process.stdin as pipe:
                pipe.write(f"{_told(works, **settings)}\n".encode())
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
def test_documents_are_chunked_while_others_are_embedded(installation: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works = installation
    reached, opened, stopping = threading.Event(), threading.Event(), threading.Event()

    def wait(_: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        reached.set()
        assert opened.wait(SECONDS)
        return vectors

    works.embedder.spoil = wait
    monkeypatch.setattr(ingestion.worker, "build_embedder", lambda *_, **__: works.embedder)
    first = works.upload(story("tea"), "first.txt")
    settings = settings_as_told(_told(works, worker_idle_seconds=600.0))
    worker = threading.Thread(target=ingestion.worker._work, args=(settings, stopping))
    worker.start()
    try:
        assert reached.wait(SECONDS)
        second = works.upload(story("coffee"), "second.txt")
        _wait_for(lambda: _done(works, second, StageName.CHUNK))
        assert works.stage(first, StageName.EMBED).state == "leased"
        opened.set()
        _wait_for(lambda: all(_done(works, one, StageName.EMBED) for one in (first, second)))
    finally:
        opened.set()
        stopping.set()
        worker.join(SECONDS)
    assert not worker.is_alive()


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
def test_a_worker_works_with_its_parents_settings_and_not_with_those_around_it(
    installation: Works, tmp_path: Path
) -> None:
    works = installation
    document = works.upload(story("tea"))
    elsewhere = tmp_path / "elsewhere"
    around = {
        "FOOTNOTE_DATABASE_URL": sqlite_url(elsewhere),
        "FOOTNOTE_BLOBS": str(elsewhere / "blobs"),
        "FOOTNOTE_EMBEDDER": "none",
    }
    with _worker(works, environment=around) as process:
        assert process.wait(SECONDS) == 0

    assert _done(works, document, StageName.EMBED)
    assert not elsewhere.exists()


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
        [sys.executable, "-c", PARENT, str(works.folder), _told(works, worker_idle_seconds=600)],
        stdout=subprocess.PIPE,
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
