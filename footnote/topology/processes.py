"""Processes that are kept running: whatever dies is started again, ever more slowly while it goes on dying."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from core.errors import Unavailable

log = structlog.get_logger()

FIRST_BACK_OFF_SECONDS = 0.2
LONGEST_BACK_OFF_SECONDS = 5.0
HEALTHY_SECONDS = 10.0
START_SECONDS = 90.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A process to keep running. `ready` says whether it serves; `stop` is the signal that ends it in order."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool] = lambda: True
    stop: signal.Signals = signal.SIGTERM
    user: str | None = None
    folder: Path | None = None


@dataclass(slots=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    back_off: float = FIRST_BACK_OFF_SECONDS
    next_start: float = 0.0
    restarts: int = 0
    wanted: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)


class Processes:
    """Starts programs in order, each once the one before is ready, and keeps them running until `stop`."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}
        self._stopping = threading.Event()
        # Linux ends a child with the thread that started it: this one thread starts all, and outlives them.
        self._thread = threading.Thread(target=self._watch, name="processes", daemon=True)
        self._thread.start()

    def start(self, program: Program) -> None:
        """Start the program and return once it is ready.

        :raises Unavailable: it is not ready in time.
        """
        self._running[program.name] = _Running(program)
        self.wait_until_ready(program.name)

    def wait_until_ready(self, name: str) -> None:
        """Return once the program serves (again).

        :raises Unavailable: it does not in time.
        """
        deadline = time.monotonic() + START_SECONDS
        running = self._running[name]
        while True:
            with running.lock:
                alive = running.process is not None and running.process.poll() is None
            if alive and running.program.ready():
                return
            if time.monotonic() > deadline or self._stopping.is_set():
                raise Unavailable(f"{name} is not ready after {START_SECONDS:.0f} s; its log is {running.program.log}.")
            time.sleep(POLL_SECONDS)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to the program as it runs now; nothing happens while it is down."""
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def pid(self, name: str) -> int | None:
        """Return the process id, None while it is down."""
        running = self._running[name]
        with running.lock:
            process = running.process
            return process.pid if process is not None and process.poll() is None else None

    @property
    def names(self) -> tuple[str, ...]:
        """All programs, in the order of their start."""
        return tuple(self._running)

    @property
    def restarts(self) -> dict[str, int]:
        """How often each program was started again."""
        return {name: running.restarts for name, running in self._running.items()}

    def stop(self) -> None:
        """End all in the opposite order, each by its own signal, and by force what does not listen."""
        for name in reversed(self.names):
            running = self._running[name]
            running.wanted = False
            with running.lock:
                process = running.process
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGCONT)
            process.send_signal(running.program.stop)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for running in list(self._running.values()):
                self._look_after(running)

    def _look_after(self, running: _Running) -> None:
        with running.lock:
            process, now = running.process, time.monotonic()
            if not running.wanted or now < running.next_start:
                return
            if process is not None and process.poll() is None:
                return
            if process is not None and running.started:
                log.warning("process_died", name=running.program.name, code=process.returncode)
                if now - running.started > HEALTHY_SECONDS:
                    running.back_off = FIRST_BACK_OFF_SECONDS
                _back_off(running, now)
                return
            try:
                running.process, running.started = _spawn(running.program), now
            except Exception as error:  # Were this thread to end, the kernel would end all that it has started.
                log.warning("process_not_started", name=running.program.name, exc_info=error)
                _back_off(running, now)


def _back_off(running: _Running, now: float) -> None:
    running.next_start, running.started = now + running.back_off, 0.0
    running.back_off = min(2 * running.back_off, LONGEST_BACK_OFF_SECONDS)
    running.restarts += 1


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    with program.log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own programs, and servers of this machine
            list(program.command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(program.environment),
            user=program.user,
            cwd=program.folder,
            start_new_session=True,  # Ctrl-C is ours: we end them in order.
            preexec_fn=_die_with_us,  # noqa: PLW1509 - one thread starts all, and it holds no lock that a child needs
        )


def _die_with_us() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
