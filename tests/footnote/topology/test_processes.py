import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

import footnote.topology.processes
from core.errors import Unavailable
from footnote.topology.processes import Processes, Program

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.stop()


def _program(tmp_path: Path, code: str, name: str = "one") -> Program:
    return Program(name=name, command=[sys.executable, "-c", code], environment=os.environ, log=tmp_path / "log")


def _wait_for_another(processes: Processes, before: int | None) -> int:
    deadline = time.monotonic() + 10
    while (pid := processes.pid("one")) in {None, before}:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert pid is not None
    return pid


def test_what_is_killed_is_started_again_and_what_is_stopped_is_not(tmp_path: Path, processes: Processes) -> None:
    processes.start(_program(tmp_path, SLEEP))
    first = processes.pid("one")
    processes.signal("one", signal.SIGKILL)
    second = _wait_for_another(processes, first)
    assert processes.restarts == {"one": 1}

    processes.stop()

    assert not psutil.pid_exists(second)
    assert processes.pid("one") is None


def test_what_keeps_dying_is_started_ever_more_slowly(tmp_path: Path, processes: Processes) -> None:
    processes.start(_program(tmp_path, "raise SystemExit(3)"))
    time.sleep(2.5)
    assert 1 <= processes.restarts["one"] <= 4  # after .2, .4, .8 and 1.6 s


def test_what_does_not_become_ready_is_told_with_its_log(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = _program(tmp_path, SLEEP)
    never = Program(name="one", command=program.command, environment=os.environ, log=program.log, ready=lambda: False)
    monkeypatch.setattr(footnote.topology.processes, "START_SECONDS", 0.3)
    with pytest.raises(Unavailable, match=f"one is not ready.*{tmp_path}/log"):
        processes.start(never)


def test_what_does_not_listen_is_ended_by_force(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / "ready"
    deaf = f"import signal, pathlib; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(ready)!r}).touch()\n{SLEEP}"
    program = _program(tmp_path, deaf)
    processes.start(
        Program(name="one", command=program.command, environment=os.environ, log=program.log, ready=ready.exists)
    )
    pid = processes.pid("one")
    monkeypatch.setattr(footnote.topology.processes, "STOP_SECONDS", 0.2)

    processes.stop()

    assert pid is not None
    assert not psutil.pid_exists(pid)
