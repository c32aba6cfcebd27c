"""The worker child: parses, chunks and embeds at idle priority, and ends when there is nothing left to do."""

import argparse
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import structlog

from core.blobs import DirectoryBlobs
from core.db.session import Database, sqlite_url
from core.observability import configure_logging
from core.settings import Settings
from ingestion.leases import HeldLeases
from ingestion.pipeline import IngestionPipeline
from ingestion.priority import yield_to_everybody
from ingestion.sandbox import ParserLimits, ParserSandbox
from retrieval.factory import build_embedder
from retrieval.ports import Embedder

log = structlog.get_logger()

PARSERS = 2
POLL_SECONDS = 0.1
LONGEST_BACK_OFF_SECONDS = 5.0
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run until idle for `worker_idle_seconds`, told to stop, or left alone by the parent."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--parent", type=int, required=True)
    parsed = arguments.parse_args()
    _die_with(parsed.parent)
    yield_to_everybody()
    settings = Settings(data=parsed.data)
    configure_logging(settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    _work(settings, stopping)


def _work(settings: Settings, stopping: threading.Event) -> None:
    database = Database(settings.database_url or sqlite_url(settings.data))

    @cache
    def embedder() -> Embedder:
        return build_embedder(settings, mode="throughput")

    held = HeldLeases(database)
    held.start()
    sandbox = ParserSandbox(ParserLimits.from_settings(settings), processes=PARSERS)
    pipeline = IngestionPipeline(
        database=database,
        blobs=DirectoryBlobs(settings.data / "blobs"),
        parser=sandbox,
        embedder=embedder,
        held=held,
        owner=f"worker-{os.getpid()}",
        parsers=PARSERS,
        chunk_tokens=settings.chunk_tokens,
        chunk_overlap_tokens=settings.chunk_overlap_tokens,
    )
    activity = _Activity()
    # Parsing has a thread of its own, so that one slow document holds up nobody's embedding.
    parsing = threading.Thread(target=_loop, args=(pipeline.run_parse, activity, stopping), name="parse-loop")
    parsing.start()
    finishing = threading.Thread(
        target=_loop, args=(lambda: pipeline.run_chunk() + pipeline.run_embed(), activity, stopping), name="embed-loop"
    )
    finishing.start()
    while not stopping.wait(POLL_SECONDS):
        if activity.idle_seconds() > settings.worker_idle_seconds:
            stopping.set()
    parsing.join()
    finishing.join()
    pipeline.close()
    sandbox.close()
    held.stop()
    database.close()


class _Activity:
    """When something was last worked on, and by how many loops it is being worked on now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self._last = time.monotonic()

    def __enter__(self) -> None:
        with self._lock:
            self._busy += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._busy -= 1

    def worked(self) -> None:
        self._last = time.monotonic()

    def idle_seconds(self) -> float:
        with self._lock:
            return 0.0 if self._busy else time.monotonic() - self._last


def _loop(run: Callable[[], int], activity: _Activity, stopping: threading.Event) -> None:
    wait = POLL_SECONDS
    while not stopping.is_set():
        try:
            with activity:
                count = run()
                if count:
                    activity.worked()
            wait = POLL_SECONDS
        except Exception as error:
            log.warning("worker_loop_failed", exc_info=error)
            count = 0
            wait = min(2 * wait, LONGEST_BACK_OFF_SECONDS)  # What goes on failing is not to fill the log.
        if not count:
            stopping.wait(wait)


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies: two owners of one data directory must never be."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)  # The parent died before the line above took hold.


if __name__ == "__main__":
    main()
