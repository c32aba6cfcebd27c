"""The worker child: parses, chunks and embeds at idle priority, and ends when there is nothing left to do."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache

import structlog

from core.blobs import open_blobs
from core.db.session import Database, sqlite_url
from core.db.stages import has_claimable
from core.domain import WORKER_STAGES
from core.observability import configure_logging
from core.settings import Settings, settings_as_told
from ingestion.leases import HeldLeases
from ingestion.parent import die_with
from ingestion.pipeline import CHUNK_BATCH, EMBED_BATCH, PARSE_BATCH, IngestionPipeline
from ingestion.priority import yield_to_everybody
from ingestion.sandbox import ParserLimits, ParserSandbox
from retrieval.factory import build_embedder
from retrieval.ports import Embedder

log = structlog.get_logger()

PARSERS = 2
POLL_SECONDS = 0.1
GATHER_SECONDS = 0.5  # A turn costs as much for one document as for many: what comes in between is taken together.
LONGEST_BACK_OFF_SECONDS = 5.0
IN_VAIN_SECONDS = 600.0  # So long a worker goes on while something waits and it does nothing of it.


def main() -> None:
    """Run until idle for `worker_idle_seconds`, told to stop, or left alone by the parent.

    The settings are a line of standard input: the parent's, which may be others than those of environment and files.
    """
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", required=True, help="for whoever looks at the list of processes")
    arguments.add_argument("--parent", type=int, required=True)
    parsed = arguments.parse_args()
    die_with(parsed.parent)  # Two owners of one data directory must never be.
    yield_to_everybody()
    settings = settings_as_told(sys.stdin.readline())
    configure_logging(settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    sys.exit(0 if _work(settings, stopping) else 1)  # So that it counts against what the loop had in hand.


def _work(settings: Settings, stopping: threading.Event) -> bool:
    """Work until told to stop or idle; return False when a loop broke down, which no loop recovers from."""
    database = Database(settings.database_url or sqlite_url(settings.data))

    @cache
    def embedder() -> Embedder:
        return build_embedder(settings, mode="throughput")

    held = HeldLeases(database)
    held.start()
    sandbox = ParserSandbox(ParserLimits.from_settings(settings), processes=PARSERS)
    pipeline = IngestionPipeline(
        database=database,
        blobs=open_blobs(settings, settings.data),
        parser=sandbox,
        embedder=embedder,
        held=held,
        owner=f"worker-{os.getpid()}",
        parsers=PARSERS,
        chunk_tokens=settings.chunk_tokens,
        chunk_overlap_tokens=settings.chunk_overlap_tokens,
    )
    activity = _Activity()
    # Each stage has a thread of its own, so that a slow document, or a long turn of the model, holds up its like alone.
    runs = {
        "parse": (pipeline.run_parse, PARSE_BATCH),
        "chunk": (pipeline.run_chunk, CHUNK_BATCH),
        "embed": (pipeline.run_embed, EMBED_BATCH),
    }
    loops = [
        threading.Thread(target=_loop, args=(run, full, activity, stopping), name=f"{stage}-loop")
        for stage, (run, full) in runs.items()
    ]
    for loop in loops:
        loop.start()
    patience = max(settings.worker_idle_seconds, 2 * GATHER_SECONDS)  # Between two turns nobody is idle.
    _wait_until_idle(database, lambda: pipeline.busy, activity, patience, stopping)
    stopping.set()
    for loop in loops:
        loop.join()
    pipeline.close()
    sandbox.close()
    held.stop()
    database.close()
    return not activity.broken


class _Activity:
    """When something was last worked on, and by how many loops it is being worked on now.

    `broken`: a loop ended although it was not told to.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self._last = self._done = time.monotonic()
        self.broken = False

    def __enter__(self) -> None:
        with self._lock:
            self._busy += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._busy -= 1

    def worked(self) -> None:
        self._last = self._done = time.monotonic()

    def expected(self) -> None:
        """Note that there is something to be worked on: nobody is idle for a while."""
        self._last = time.monotonic()

    def seconds_in_vain(self) -> float:
        """Since something was last done, whatever is expected."""
        return time.monotonic() - self._done

    def idle_seconds(self) -> float:
        with self._lock:
            return 0.0 if self._busy else time.monotonic() - self._last


def _wait_until_idle(
    database: Database, busy: Callable[[], bool], activity: _Activity, patience: float, stopping: threading.Event
) -> None:
    """Return when told to stop, or when nothing was worked on for so many seconds and nothing waits to be.

    And when something waits that nothing is done of for very long: what hinders this process may not hinder another.
    """

    def idle() -> bool:
        return not busy() and activity.idle_seconds() > patience

    while not stopping.wait(POLL_SECONDS):
        if not idle():
            continue
        # At idle priority the loops may have got no processor for all that time: that nothing was done does not say
        # that nothing is to be done.
        if _may_have_work(database):
            if activity.seconds_in_vain() > IN_VAIN_SECONDS:
                log.warning("worker_ends_in_vain")
                return
            activity.expected()  # Not asked again before there was as much time to take it.
        elif idle():  # Still: nobody took it while the database was asked.
            return


def _may_have_work(database: Database) -> bool:
    """Whether anything waits to be claimed, be it for a part that rests now; True where nobody can tell."""
    try:
        with database.reading() as session:
            return has_claimable(session, WORKER_STAGES)
    except Exception:  # noqa: BLE001 - the loops ask the same database, and log what it says
        return True


def _loop(run: Callable[[], int], full: int, activity: _Activity, stopping: threading.Event) -> None:
    """Take turns until told to stop. What breaks the loop itself ends the worker: another one is started then."""
    try:
        _take_turns(run, full, activity, stopping)
    except BaseException:
        activity.broken = True
        raise
    finally:
        stopping.set()


def _take_turns(run: Callable[[], int], full: int, activity: _Activity, stopping: threading.Event) -> None:
    """One after the other; one that was not `full` leaves some time for more to come."""
    wait = POLL_SECONDS
    while not stopping.is_set():
        began = time.monotonic()
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
        elif count < full:
            stopping.wait(began + GATHER_SECONDS - time.monotonic())


if __name__ == "__main__":
    main()
