"""What is done to a running installation. Each fault is over when its function returns, or soon after by itself."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types

from footnote.topology.distributed import Installation

WORKERS = ("worker-parse-1", "worker-parse-2", "worker-embed", "worker-index", "worker-maintenance")
STALL_SECONDS = 3.0


class Faults:
    """Does something bad every second or so until told to stop."""

    def __init__(self, installation: Installation, seed: int, *, blobs: Path | None, lease_seconds: float) -> None:
        self._installation = installation
        self._chance = random.Random(seed)  # noqa: S311 - chance, not secrets
        self._blobs = blobs
        self._lease_seconds = lease_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faults")
        self.done: Counter[str] = Counter()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> float:
        """Stop, with everything that was stalled going again; return the time of the last fault."""
        self._stopping.set()
        self._thread.join()
        return time.monotonic()

    def _run(self) -> None:
        deeds: list[tuple[int, Callable[[], None]]] = [
            (8, self._kill_pool_child),
            (3, self._kill_worker),
            (2, self._wipe_redis),
            (1, self._stop_postgres),
            (2, self._stall_index),
            (1, self._kill_index),
            (1, self._kill_api),
            (1, self._pause_worker),
        ]
        if self._blobs is not None:
            deeds.append((1, self._fill_disk))
        weights = [weight for weight, _ in deeds]
        while not self._stopping.wait(self._chance.uniform(0.3, 1.5)):
            _, deed = self._chance.choices(deeds, weights)[0]
            deed()
            self.done[deed.__name__.removeprefix("_")] += 1

    def _kill_pool_child(self) -> None:
        pid = self._installation.processes.pid(self._chance.choice(WORKERS))
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(pid).children() if pid is not None else []
            if children:
                self._chance.choice(children).kill()

    def _kill_worker(self) -> None:
        self._installation.processes.signal(self._chance.choice(WORKERS), signal.SIGKILL)

    def _wipe_redis(self) -> None:
        self._installation.processes.signal("redis", signal.SIGKILL)  # It keeps nothing on disk.

    def _stop_postgres(self) -> None:
        self._installation.processes.signal("postgres", signal.SIGQUIT)  # immediate shutdown

    def _kill_index(self) -> None:
        self._installation.processes.signal("index", signal.SIGKILL)

    def _kill_api(self) -> None:
        self._installation.processes.signal("api", signal.SIGKILL)

    def _stall_index(self) -> None:
        self._stall("index", STALL_SECONDS)

    def _pause_worker(self) -> None:
        """For longer than its lease: what it does afterwards must not count."""
        name = self._chance.choice(WORKERS)
        pid = self._installation.processes.pid(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(pid).children(recursive=True) if pid is not None else []
            self._pause([pid, *(child.pid for child in children)] if pid is not None else [], 2 * self._lease_seconds)

    def _stall(self, name: str, seconds: float) -> None:
        pid = self._installation.processes.pid(name)
        self._pause([pid] if pid is not None else [], seconds)

    def _pause(self, pids: list[int], seconds: float) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self._stopping.wait(seconds)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _fill_disk(self) -> None:
        assert self._blobs is not None  # noqa: S101 - only chosen where it is
        filler = self._blobs / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while not self._stopping.is_set():
                file.write(b"x" * (1 << 16))
        self._stopping.wait(STALL_SECONDS)
        filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """Mount a disk of its own at the folder, so that it can be full; None where we may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0  # noqa: S603 - ours
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)  # noqa: S603, S607 - as above
