"""Notices that this worker no longer hears its broker, and ends it, so that whatever keeps it running starts another.

Celery's consumer can be deaf for good while its process lives: where a connection broke under an acknowledgement, the
message counts as unacknowledged for ever, and no other is fetched. The queue of record tells: work is due, and none of
our processes holds any or was given a message.
"""

import os
import threading
import time
from collections.abc import Callable, Collection, Sequence

import structlog

from core.db.index_tasks import has_due_task
from core.db.session import Database
from core.db.stages import has_claimable, holds_any
from core.db.wakeups import QUEUES
from core.errors import FootnoteError

log = structlog.get_logger()

DEAF_SECONDS = 15.0  # The reconciler rings every five: who hears has heard by then.
LOOK_SECONDS = 2.0
EXIT_STATUS = 75  # "temporary failure": start me again


class DeafnessWatch:
    """Looks every few seconds from a thread of the worker's main process.

    `children` returns the process ids of the pool, and `owner_of` the name under which one of them holds leases.
    """

    def __init__(
        self,
        database_url: str,
        queues: Collection[str],
        *,
        children: Callable[[], Sequence[int]],
        owner_of: Callable[[int], str],
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._database_url = database_url
        self._stages = [stage for stage, queue in QUEUES.items() if queue in queues]
        self._watches_tasks = "index" in queues
        self._children = children
        self._owner_of = owner_of
        self._end = end
        self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="deafness-watch", daemon=True)

    def start(self) -> None:
        if self._stages:
            self._thread.start()

    def heard(self) -> None:
        """Note that a message arrived."""
        self._heard = time.monotonic()

    def look(self) -> None:
        """Note whether there is nothing to hear, or somebody at work; end the process if it has been deaf for long."""
        if not self._is_owed_a_message():
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > DEAF_SECONDS:
            log.error("worker_deaf", seconds=DEAF_SECONDS, detail="work is due and no message arrives; ending")
            self._end(EXIT_STATUS)

    def _is_owed_a_message(self) -> bool:
        # A connection of its own for each look: nothing is to be open when a process of the pool is forked.
        database = Database(self._database_url)
        try:
            with database.reading() as session:
                due = has_claimable(session, self._stages) or (self._watches_tasks and has_due_task(session))
                return due and not holds_any(session, [self._owner_of(pid) for pid in self._children()])
        except FootnoteError:
            return False  # Without its database nobody has anything to do.
        finally:
            database.close()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception as error:
                log.warning("deafness_watch_failed", exc_info=error)
