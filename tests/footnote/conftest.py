"""The command line against a small organisation with real parts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from core.db.session import Database
from footnote import uploading
from tests.footnote.served import POLL_SECONDS, Branch, CommandLine, served


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command configures the logging of its process, which here is everybody's."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def branch(sqlite_database: Database, tmp_path: Path) -> Iterator[Branch]:
    folder = tmp_path / "house"
    folder.mkdir()
    with capture_logs(), Branch(sqlite_database, folder) as opened:  # What the server logs is no command's output.
        yield opened


@pytest.fixture
def url(branch: Branch) -> Iterator[str]:
    with served(branch) as address:
        yield address


@pytest.fixture
def footnote(
    branch: Branch, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandLine:
    """`footnote …` in this process, in a folder of its own, against the branch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uploading, "POLL_SECONDS", POLL_SECONDS)
    return CommandLine(branch=branch, url=url, patch=monkeypatch, capsys=capsys)
