"""The way in, put together for one test."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.db.session import Database
from tests.ingestion.works import Works

Logged = list[MutableMapping[str, Any]]


class Clock:
    """Stands in for the module `time` where a test says how late it is."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


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
