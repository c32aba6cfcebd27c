import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy.exc import OperationalError

import ingestion.worker
from core.db.session import Database, sqlite_url
from core.db.stages import has_claimable
from core.domain import DocumentState, StageName
from core.errors import Unavailable
from core.ids import DocumentId
from core.intake import UploadRequest
from core.settings import Settings, settings_as_told, told_settings
from ingestion.worker import IN_VAIN_SECONDS, _Activity, _loop, _wait_until_idle
from tests.ingestion.conftest import Clock, Logged, Passing
from tests.ingestion.works import Works, story

SAMPLES = Path(__file__).parents[2] / "samples" / "documents"
SECONDS = 240.0  # A worker runs when nobody else wants the processor: beside other tests that may take minutes.

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
    clock = Clock()
    monkeypatch.setattr(ingestion.worker, "time", clock)
    stopping = Passing(clock)
    turns = iter([0.0, 0.2, 2 * ingestion.worker.GATHER_SECONDS])

    def run() -> int:
        seconds = next(turns, None)
        if seconds is None:
            stopping.set()
            return 2
        clock.now += seconds
        return 1

    _loop(run, 2, _Activity(), stopping)
    gather = ingestion.worker.GATHER_SECONDS
    assert stopping.asked == pytest.approx([gather, gather - 0.2, -gather])  # Counted from the turn's beginning.


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


def test_a_worker_does_not_end_while_something_waits_and_asks_no_oftener_than_it_would_end(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At idle priority its loops may get no processor for any length of time."""
    clock, asked = Clock(), list[float]()
    monkeypatch.setattr(ingestion.worker, "time", clock)
    activity = _Activity()

    def noted(*arguments: Any) -> bool:  # noqa: ANN401 - whatever it takes
        asked.append(clock.now)
        return has_claimable(*arguments)

    monkeypatch.setattr(ingestion.worker, "has_claimable", noted)
    works.upload(story("tea"))
    told = Passing(clock, most=100.0)
    _wait_until_idle(works.database, lambda: False, activity, 2.0, told)
    assert told.is_set()
    assert 40 <= len(asked) <= 50

    works.work()
    asked.clear()
    told = Passing(clock, most=100.0)
    _wait_until_idle(works.database, lambda: False, _Activity(), 2.0, told)
    assert not told.is_set()
    assert len(asked) == 1


def test_a_worker_that_does_nothing_of_what_waits_makes_way_for_another(
    works: Works, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    clock = Clock()
    monkeypatch.setattr(ingestion.worker, "time", clock)
    works.upload(story("tea"))
    activity = _Activity()
    clock.now += 1_000.0
    activity.worked()
    told, began = Passing(clock, most=2 * IN_VAIN_SECONDS), clock.now

    _wait_until_idle(works.database, lambda: False, activity, 2.0, told)

    assert not told.is_set()
    assert IN_VAIN_SECONDS < clock.now - began < IN_VAIN_SECONDS + 3
    assert [event["event"] for event in logged] == ["worker_ends_in_vain"]


class Panic(BaseException):
    """As a library in another language raises it."""


def test_what_breaks_a_loop_ends_the_worker() -> None:
    def panic() -> int:
        raise Panic

    activity, stopping = _Activity(), threading.Event()

    with pytest.raises(Panic):
        _loop(panic, 1, activity, stopping)

    assert stopping.is_set()
    assert activity.broken


def test_a_worker_that_cannot_ask_what_waits_goes_on_until_it_can(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, answers = Clock(), iter([Unavailable("Away."), OperationalError("select", {}, OSError("gone"))])
    monkeypatch.setattr(ingestion.worker, "time", clock)

    def has_work(*arguments: Any) -> bool:  # noqa: ANN401 - whatever it takes
        if (error := next(answers, None)) is not None:
            raise error
        return has_claimable(*arguments)

    monkeypatch.setattr(ingestion.worker, "has_claimable", has_work)
    told, began = Passing(clock, most=100.0), clock.now
    _wait_until_idle(works.database, lambda: False, _Activity(), 2.0, told)
    assert not told.is_set()
    assert 6.0 < clock.now - began < 7.0


def test_a_worker_that_took_the_last_work_while_it_was_asked_for_does_not_end(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has in hand cannot be claimed, and what comes of it is to be its own work too."""
    clock, asked = Clock(), list[float]()
    monkeypatch.setattr(ingestion.worker, "time", clock)
    activity = _Activity()

    def taken(*_: object) -> bool:
        asked.append(clock.now)
        activity.__enter__()
        return False

    monkeypatch.setattr(ingestion.worker, "has_claimable", taken)
    told = Passing(clock, most=100.0)
    _wait_until_idle(works.database, lambda: False, activity, 2.0, told)
    assert told.is_set()
    assert len(asked) == 1


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
        with suppress(OSError):  # A thread may end, and a process with all of its own, before it is read.
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
def test_a_worker_that_gets_no_processor_for_longer_than_its_patience_still_does_its_work(
    installation: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = installation
    monkeypatch.setattr(ingestion.worker, "GATHER_SECONDS", 0.05)  # Its patience is at least twice that.
    loop = ingestion.worker._loop

    def starved(run: Callable[[], int], full: int, activity: _Activity, stopping: threading.Event) -> None:
        stopping.wait(1.5)  # Told to stop earlier, it would come to nothing.
        loop(run, full, activity, stopping)

    monkeypatch.setattr(ingestion.worker, "_loop", starved)
    document = works.upload(story("tea"))
    settings = settings_as_told(_told(works, worker_idle_seconds=0.05))
    stopping = threading.Event()
    worker = threading.Thread(target=ingestion.worker._work, args=(settings, stopping))
    worker.start()
    try:
        worker.join(SECONDS)
        assert not worker.is_alive()
    finally:
        stopping.set()
        worker.join()
    assert _done(works, document, StageName.EMBED)


@pytest.mark.slow
@pytest.mark.timeout(600)
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
@pytest.mark.timeout(600)
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
@pytest.mark.timeout(600)
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
