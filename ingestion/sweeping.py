"""Keeps a data directory's local copies of stored files few, also while its process has nothing else to do."""

import threading
from pathlib import Path

import structlog

from core.blobs import sweep_copies

log = structlog.get_logger()

SWEEP_SECONDS = 600.0


class CopiesSweep:
    """Sweeps at the start and every `seconds` from then on, in a thread; several processes may sweep one directory."""

    def __init__(self, data: Path, *, max_bytes: int, seconds: float = SWEEP_SECONDS) -> None:
        self._data = data
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="copies-sweep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                sweep_copies(self._data, max_bytes=self._max_bytes)
            except Exception as error:  # What cannot be removed now is tried again.
                log.warning("copies_sweep_failed", exc_info=error)
            self._stopping.wait(self._seconds)
