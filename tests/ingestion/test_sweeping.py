"""Copies go though nobody asks for a file, and though one sweep fails."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ingestion.sweeping
from core.blobs.copies import KEPT_SECONDS, LocalCopies
from core.blobs.opening import COPIES
from core.ids import TenantId
from ingestion.sweeping import CopiesSweep
from tests.ingestion.conftest import Logged

TENANT = TenantId("alpha")


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _aged(path: Path) -> Path:
    then = time.time() - KEPT_SECONDS - 1
    os.utime(path, (then, then))
    return path


def test_an_idle_process_keeps_no_copy_and_no_scratch_for_long(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path / COPIES, max_bytes=1_000)
    with copies.scratch() as scratch:
        scratch.write(b"fresh")
        fresh = copies.keep(TENANT, "ab", scratch)
    with copies.scratch() as scratch:
        scratch.write(b"stale")
        stale = _aged(copies.keep(TENANT, "cd", scratch))
    left_behind = tmp_path / COPIES / ".tmp" / "of-a-dead-process"
    left_behind.write_bytes(b"half")
    _aged(left_behind)

    sweep = CopiesSweep(tmp_path, max_bytes=1_000, seconds=0.05)
    sweep.start()
    try:
        _wait_for(lambda: not stale.exists() and not left_behind.exists())
        assert fresh.read_bytes() == b"fresh"
        _aged(fresh)  # An hour later, and nothing was asked for.
        _wait_for(lambda: not fresh.exists())
    finally:
        sweep.stop()


def test_a_sweep_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    asked: list[Path] = []

    def failing(data: Path, *, max_bytes: int) -> int:
        asked.append(data)
        raise OSError(max_bytes)

    monkeypatch.setattr(ingestion.sweeping, "sweep_copies", failing)
    sweep = CopiesSweep(tmp_path, max_bytes=1, seconds=0.01)
    sweep.start()
    _wait_for(lambda: len(asked) > 2)
    sweep.stop()
    assert {event["event"] for event in logged} == {"copies_sweep_failed"}


def test_where_there_are_no_copies_no_folder_is_made(tmp_path: Path) -> None:
    sweep = CopiesSweep(tmp_path, max_bytes=1)
    sweep.start()
    sweep.stop()
    assert list(tmp_path.iterdir()) == []
