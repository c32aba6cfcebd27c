"""Starts the worker child while there is work for it, and again when it dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import structlog

from core.db.session import Database
from core.db.stages import has_claimable, reclaim_owned
from core.domain import WORKER_STAGES
from core.settings import Settings, told_settings

log = structlog.get_logger()

POLL_SECONDS = 0.25
FIRST_BACK_OFF_SECONDS = 0.25
LONGEST_BACK_OFF_SECONDS = 10.0
MOST_LOG_BYTES = 10_000_000
HEALTHY_SECONDS = 30.0  # A worker that lived so long did not die of its start.


class WorkerSupervisor:
    """Runs at most one worker child. It lives only while there is work, so an idle installation stays small.

    The child works with exactly these settings, whatever its environment and its working directory say.
    """

    def __init__(self, *, database: Database, settings: Settings, log_path: Path) -> None:
        self._database = database
        self._settings = settings
        self._log_path = log_path
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._dead: dict[str, bool] = {}  # Workers whose leases are still to be freed; whether that counts.
        # The child dies with the thread that started it (PR_SET_PDEATHSIG), so one thread starts and outlives them all.
        self._thread = threading.Thread(target=self._run, name="worker-supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look for work now rather than at the next poll."""
        self._wake.set()

    def stop(self) -> None:
        """End the worker child and wait for it; what it held is claimed again by the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs: without it nothing is taken in."""
        return self._thread.is_alive()

    @property
    def worker_pid(self) -> int | None:
        """The process id of the living worker child."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def _run(self) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._reclaim()
                if not self._has_work():
                    self._wake.wait(POLL_SECONDS)
                    self._wake.clear()
                    continue
                code = self._run_worker()
                if self._stopping.is_set():
                    return
                if code == 0:
                    back_off = FIRST_BACK_OFF_SECONDS
                    continue
                log.warning("worker_died", code=code)
            except Exception as error:  # Without this thread nothing would be taken in any more.
                log.warning("worker_supervisor_failed", exc_info=error)
            if time.monotonic() - started > HEALTHY_SECONDS:
                back_off = FIRST_BACK_OFF_SECONDS
            self._stopping.wait(back_off)
            back_off = min(back_off * 2, LONGEST_BACK_OFF_SECONDS)

    def _has_work(self) -> bool:
        with self._database.reading() as session:
            return has_claimable(session, WORKER_STAGES)

    def _run_worker(self) -> int:
        """Run one worker until it ends; return its exit code. Leases that it leaves behind are free at once."""
        if self._log_path.exists() and self._log_path.stat().st_size > MOST_LOG_BYTES:
            self._log_path.replace(self._log_path.with_name(f"{self._log_path.name}.1"))
        with self._log_path.open("ab") as output:
            child = subprocess.Popen(  # noqa: S603 - our own program and arguments
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "ingestion.worker",
                    "--data",
                    str(self._settings.data),
                    "--parent",
                    str(os.getpid()),
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        self._child = child
        self._tell(child)
        while child.poll() is None and not self._stopping.is_set():
            self._stopping.wait(0.05)
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
        code = child.wait()
        told = self._stopping.is_set() or code in {0, -signal.SIGTERM, -signal.SIGINT}
        self._dead[f"worker-{child.pid}"] = not told
        self._reclaim()
        return code

    def _tell(self, child: subprocess.Popen[bytes]) -> None:
        """Give the child its settings: one line, much less than a pipe takes at once."""
        if child.stdin is not None:
            with suppress(BrokenPipeError), child.stdin as pipe:  # One that died at once need not be told.
                pipe.write(told_settings(self._settings).encode() + b"\n")

    def _reclaim(self) -> None:
        """Free what dead workers held. That counts against it unless the worker was told to end."""
        for owner, counted in list(self._dead.items()):
            with self._database.transaction() as session:
                reclaim_owned(session, owner, counted=counted)
            del self._dead[owner]
