import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

import footnote.supervisor
from core.db import stages
from core.db.session import Database, sqlite_url
from core.domain import DocumentState, StageName
from core.ids import DocumentId
from core.settings import Settings
from footnote.supervisor import WorkerSupervisor
from tests.ingestion.works import Works, story

SECONDS = 240.0  # A worker gets a processor only when nobody else wants it.
T = TypeVar("T")


@pytest.fixture
def works(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    """A data directory as a worker child expects it."""
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FOOTNOTE_EMBEDDER", "hashing:32")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catalogue.db").write_bytes(sqlite_template.read_bytes())
    database = Database(sqlite_url(tmp_path))
    with capture_logs():
        opened = Works(database, tmp_path)
        yield opened
        opened.close()
    database.close()


@contextmanager
def _supervised(works: Works) -> Iterator[WorkerSupervisor]:
    log_path = works.folder / "worker.log"
    supervisor = WorkerSupervisor(database=works.database, settings=Settings(data=works.folder), log_path=log_path)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def _wait_for(condition: Callable[[], T]) -> T:
    """Return what the condition gave at last: asked again, it might give something else."""
    deadline = time.monotonic() + SECONDS
    while not (given := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return given


def _embedded(works: Works, documents: list[DocumentId]) -> bool:
    return all(works.stage(document, StageName.EMBED).state == "done" for document in documents)


def _worker(supervisor: WorkerSupervisor) -> int:
    pid = _wait_for(lambda: supervisor.worker_pid)
    assert pid is not None
    return pid


def test_without_work_there_is_no_worker(works: Works) -> None:
    with _supervised(works) as supervisor:
        supervisor.wake()
        time.sleep(0.2)
        assert supervisor.worker_pid is None
    assert not (works.folder / "worker.log").exists()


def test_the_supervisor_survives_a_database_that_does_not_answer(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were its thread gone, nothing would ever be taken in again, and nobody told."""
    asked: list[int] = []

    def has_claimable(*_: object) -> bool:
        asked.append(1)
        raise OSError("no disk")

    monkeypatch.setattr(footnote.supervisor, "has_claimable", has_claimable)
    monkeypatch.setattr(footnote.supervisor, "FIRST_BACK_OFF_SECONDS", 0.01)
    with _supervised(works) as supervisor:
        _wait_for(lambda: len(asked) > 2)
        assert supervisor._thread.is_alive()


def test_a_worker_that_ends_at_once_again_and_again_is_started_ever_more_slowly(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.upload(story("tea"))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(footnote.supervisor, "FIRST_BACK_OFF_SECONDS", 0.05)
    started: list[float] = []
    run_worker = WorkerSupervisor._run_worker

    def timed(self: WorkerSupervisor) -> int:
        started.append(time.monotonic())
        return run_worker(self)

    monkeypatch.setattr(WorkerSupervisor, "_run_worker", timed)
    with _supervised(works):
        _wait_for(lambda: len(started) > 3)
    pauses = [later - earlier for earlier, later in pairwise(started)]
    assert pauses[1] > 0.1
    assert pauses[2] > 0.2


def test_a_worker_that_cannot_be_started_does_not_end_the_supervisor(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.upload(story("tea"))
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    monkeypatch.setattr(footnote.supervisor, "FIRST_BACK_OFF_SECONDS", 0.01)
    with capture_logs() as logged, _supervised(works) as supervisor:
        _wait_for(lambda: sum(event["event"] == "worker_supervisor_failed" for event in logged) > 1)
        assert supervisor._thread.is_alive()


@pytest.mark.parametrize(("program", "attempts"), [("/bin/true", 0), ("/bin/false", 1)])
def test_what_a_worker_leaves_behind_is_free_at_once_and_an_attempt_only_where_it_died(
    works: Works, monkeypatch: pytest.MonkeyPatch, program: str, attempts: int
) -> None:
    document = works.upload(story("tea"))
    monkeypatch.setattr(sys, "executable", program)
    supervisor = WorkerSupervisor(
        database=works.database, settings=Settings(data=works.folder), log_path=works.folder / "log"
    )
    start = subprocess.Popen

    def claiming(arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - passed through
        child: subprocess.Popen[bytes] = start(arguments, **options)
        with works.database.transaction() as session:
            owner = f"worker-{child.pid}"
            assert stages.claim(session, [StageName.PARSE], owner=owner, limit=1, lease_seconds=60)
        return child

    monkeypatch.setattr(subprocess, "Popen", claiming)
    supervisor._run_worker()

    stage = works.stage(document, StageName.PARSE)
    assert (stage.state, stage.lease_owner, stage.attempt) == ("queued", None, attempts)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_work_brings_a_worker_and_its_end_leaves_none(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_WORKER_IDLE_SECONDS", "0.3")
    with _supervised(works) as supervisor:
        documents = [works.upload(story(f"topic {number}"), f"{number}.txt") for number in range(3)]
        supervisor.wake()
        _wait_for(lambda: _embedded(works, documents))
        _wait_for(lambda: supervisor.worker_pid is None)
        more = works.upload(story("later"), "later.txt")
        _wait_for(lambda: _embedded(works, [more]))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_is_replaced_and_the_outcome_is_as_if_it_had_lived(works: Works) -> None:
    documents = [works.upload(story(f"topic {number}"), f"{number}.txt") for number in range(24)]
    killed: list[int] = []
    with _supervised(works) as supervisor:
        for done in (0, 4):
            pid = _wait_for(partial(_another, works, documents, supervisor, done, killed))
            assert pid is not None
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
        _wait_for(lambda: _embedded(works, documents))  # By a third one.

    works.work()
    assert {works.status(document).state for document in documents} == {DocumentState.SEARCHABLE}
    assert works.points() == dict.fromkeys(works.chunks(), 1)


def _another(
    works: Works, documents: list[DocumentId], supervisor: WorkerSupervisor, done: int, killed: list[int]
) -> int | None:
    """Return the worker's process id once so many are parsed, and it is none of those that were killed."""
    pid = supervisor.worker_pid
    return pid if pid not in killed and _parsed(works, documents) >= done else None


def _parsed(works: Works, documents: list[DocumentId]) -> int:
    return sum(works.stage(document, StageName.PARSE).state == "done" for document in documents)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopping_ends_the_worker_and_leaves_nothing_leased(works: Works) -> None:
    documents = [works.upload(story(f"topic {number}"), f"{number}.txt") for number in range(24)]
    with _supervised(works) as supervisor:
        pid = _worker(supervisor)
        _wait_for(lambda: _parsed(works, documents) > 0)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not [document for document in documents if works.status(document).state is DocumentState.LEASED]
    assert not [thread for thread in threading.enumerate() if thread.name == "worker-supervisor"]
