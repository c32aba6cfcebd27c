"""Ends a process whose engine has stopped answering, to be started again: what was acknowledged is on disk.

The engine runs in this process. Where it panics or waits for ever, no later write would be answered, the process would
look alive, and nothing would become searchable any more.
"""

import asyncio
import os
import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()

EXIT = 70  # EX_SOFTWARE of sysexits.h
LOOK_SECONDS = 5.0
PATIENCE = 12  # Looks without an answer, one after the other: a minute in which this process did run.


def end_process(reason: str) -> None:
    """End at once: an orderly end would wait for what does not answer."""
    log.critical("index_ends", reason=reason)
    os._exit(EXIT)


class LoopWatch:
    """Asks the event loop, from a thread, whether it still turns. A process that was stopped is not blamed for that."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        end: Callable[[str], None] = end_process,
        look_seconds: float = LOOK_SECONDS,
        patience: int = PATIENCE,
    ) -> None:
        self._loop = loop
        self._end = end
        self._look_seconds = look_seconds
        self._patience = patience
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the watch; may be called on the loop itself."""
        self._stopping.set()

    def _run(self) -> None:
        missed = 0
        while missed < self._patience:
            turned = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # It is closed: the process ends.
                return
            if self._stopping.wait(self._look_seconds):
                return
            missed = 0 if turned.is_set() else missed + 1
        self._end("the event loop does not turn any more")
