import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest
from structlog.testing import capture_logs

import footnote.topology.processes
from core.errors import Unavailable
from footnote.topology.processes import FIRST_BACK_OFF_SECONDS, Processes, Program

SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def processes() -> Iterator[Processes]:
    processes = Processes()
    yield processes
    processes.stop()


def _program(tmp_path: Path, code: str, name: str = "one") -> Program:
    return Program(name=name, command=[sys.executable, "-c", code], environment=os.environ, log=tmp_path / "log")


def _wait_for_another(processes: Processes, before: int | None) -> int:
    deadline = time.monotonic() + 60
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


@pytest.mark.slow
def test_what_keeps_dying_is_started_ever_more_slowly(tmp_path: Path, processes: Processes) -> None:
    told = tmp_path / "told"
    lives = 0.2
    processes.start(
        _program(
            tmp_path,
            f"import time; time.sleep({lives}); print(time.monotonic(), file=open({str(told)!r}, 'a')); exit(3)",
        )
    )
    deadline = time.monotonic() + 60
    while processes.restarts["one"] < 3 or len(ends := told.read_text().split()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pauses = [float(after) - float(before) - lives for before, after in pairwise(ends)]
    assert all(pause >= FIRST_BACK_OFF_SECONDS * 2**number for number, pause in enumerate(pauses[:3]))


def test_what_cannot_be_started_is_tried_again_and_everything_else_lives(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that starts all may not end: the kernel would end all that it started with it."""
    processes.start(_program(tmp_path, SLEEP, "other"))
    other = processes.pid("other")
    command = tmp_path / "one"
    monkeypatch.setattr(footnote.topology.processes, "LONGEST_BACK_OFF_SECONDS", 0.3)
    program = Program(name="one", command=[str(command)], environment=os.environ, log=tmp_path / "log")
    with capture_logs() as logged:
        starting = threading.Thread(target=processes.start, args=(program,))
        starting.start()
        deadline = time.monotonic() + 60
        while sum(event["event"] == "process_not_started" for event in logged) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        command.write_text("#!/bin/sh\nexec sleep 60\n")
        command.chmod(0o755)
        starting.join(30)
    assert processes.pid("one") is not None
    assert processes.restarts["one"] >= 2
    assert processes.pid("other") == other


@pytest.mark.parametrize("gone", ["log", "user"])
def test_neither_a_log_nor_a_user_that_is_gone_ends_the_others(tmp_path: Path, processes: Processes, gone: str) -> None:
    processes.start(_program(tmp_path, SLEEP, "other"))
    other = processes.pid("other")
    log = tmp_path / "no folder" / "log" if gone == "log" else tmp_path / "log"
    user = "nobody-of-this-name" if gone == "user" else None
    program = Program(name="one", command=[sys.executable, "-c", SLEEP], environment=os.environ, log=log, user=user)
    with capture_logs() as logged:
        threading.Thread(target=_start_in_vain, args=(processes, program), daemon=True).start()
        deadline = time.monotonic() + 60
        while not any(event["event"] == "process_not_started" for event in logged):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert processes.pid("one") is None
    assert processes.pid("other") == other


def _start_in_vain(processes: Processes, program: Program) -> None:
    with contextlib.suppress(Unavailable):
        processes.start(program)


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
