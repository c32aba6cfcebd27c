"""The supervisor outlives everything that goes wrong around it."""

import sys
import threading
from pathlib import Path

import pytest

import footnote.supervisor
from core.db.session import Database
from core.errors import Unavailable
from core.settings import Settings
from footnote.supervisor import MOST_LOG_BYTES, WorkerSupervisor


def test_it_goes_on_when_the_database_does_not_answer(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Semaphore(0)

    def fail(*_: object) -> bool:
        asked.release()
        raise Unavailable("The database does not answer.")

    monkeypatch.setattr(footnote.supervisor, "has_claimable", fail)
    monkeypatch.setattr(footnote.supervisor, "FIRST_BACK_OFF_SECONDS", 0.01)
    supervisor = WorkerSupervisor(
        database=sqlite_database, settings=Settings(data=tmp_path), log_path=tmp_path / "worker.log"
    )
    assert not supervisor.alive
    supervisor.start()
    for _ in range(3):
        assert asked.acquire(timeout=60)
    assert supervisor.alive
    supervisor.stop()
    assert not supervisor.alive


def test_a_large_log_is_put_aside_at_the_next_start(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        file.truncate(MOST_LOG_BYTES + 1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    supervisor = WorkerSupervisor(database=sqlite_database, settings=Settings(data=tmp_path), log_path=log)

    assert supervisor._run_worker() != 0

    assert log.stat().st_size < MOST_LOG_BYTES
    assert log.with_name("worker.log.1").stat().st_size > MOST_LOG_BYTES
