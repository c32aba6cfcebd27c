"""The way in, put together for one test."""

import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.db import stages
from core.db.session import Database
from tests.ingestion.works import Works

Logged = list[MutableMapping[str, Any]]


class Clock:
    """Stands in for the module `time` where a test says how late it is."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Passing(threading.Event):
    """On which nobody waits: the clock goes on instead, and it is set after so many seconds of that."""

    def __init__(self, clock: Clock, *, most: float = float("inf")) -> None:
        super().__init__()
        self._clock = clock
        self._end = clock.now + most
        self.asked: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.asked.append(timeout)
        self._clock.now += max(0.0, timeout)
        if self._clock.now >= self._end:
            self.set()
        return self.is_set()


@pytest.fixture
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is to be tried again wait for half a minute at least: on a busy machine a test may take some seconds."""
    monkeypatch.setattr(stages, "FIRST_DELAY_SECONDS", 60.0)


@pytest.fixture
def logged() -> Iterator[Logged]:
    """The events that are logged during the test, instead of their rendering."""
    with capture_logs() as events:
        yield events


@pytest.fixture
def works(sqlite_database: Database, tmp_path: Path, logged: Logged) -> Iterator[Works]:
    assert not logged
    opened = Works(sqlite_database, tmp_path)
    yield opened
    opened.close()
