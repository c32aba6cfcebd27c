"""The restore drill with the real program: its index folder is lost, and it starts."""

import shutil
import time
from pathlib import Path

import pytest

from core.db.index_audits import list_audits
from core.settings import Settings
from footnote.runtime import Runtime, open_runtime
from tests.footnote.test_runtime import OWNER_READS, _quiet_and_small, _upload, data

__all__ = ["_quiet_and_small", "data"]  # fixtures

SECONDS = 120.0  # A busy machine starts a worker slowly.


def _hits(runtime: Runtime) -> int:
    return len(runtime.search.search("tea", principal=OWNER_READS, limit=10).hits)


def _wait(runtime: Runtime, hits: int) -> None:
    deadline = time.monotonic() + SECONDS
    while _hits(runtime) != hits:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_f17_a_start_without_the_index_folder_makes_everything_searchable_again(data: Path) -> None:
    with open_runtime(Settings(data=data)) as runtime:
        _upload(runtime)
        deadline = time.monotonic() + SECONDS
        while not (hits := _hits(runtime)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        folder = data / "index"
        assert folder.is_dir()
    shutil.rmtree(folder)
    with open_runtime(Settings(data=data)) as runtime:
        _wait(runtime, hits)
        while True:
            with runtime.database.reading() as session:
                started = [one for one in list_audits(session) if one.cause == "start"]
            if started[0].finished_at is not None:
                break
            assert time.monotonic() < deadline + SECONDS
            time.sleep(0.05)
    assert started[0].counts.documents_refilled == 1
