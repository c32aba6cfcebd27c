"""Notices that this worker no longer hears its broker, and ends it, so that whatever keeps it running starts another.

Celery's consumer can be deaf for good while its process lives: where a connection broke under an acknowledgement, the
message counts as unacknowledged for ever, and no other is fetched. The queue of record tells: work is due, none of our
processes is at work, and no message arrives. A worker whose clock died is deaf in the same way.
"""

import os
import threading
import time
from collections.abc import Callable, Collection

import structlog

from core.db.index_tasks import has_due_task
from core.db.session import Database
from core.db.stages import has_claimable
from core.db.wakeups import QUEUES
from core.errors import FootnoteError

log = structlog.get_logger()

DEAF_SECONDS = 15.0  # The reconciler rings every five: who hears has heard by then.
LOOK_SECONDS = 2.0
EXIT_STATUS = 75  # "temporary failure": start me again


class DeafnessWatch:
    """Looks every few seconds from a thread of the worker's main process.

    `busy` says whether a process of the pool works on a message. A worker that is `always_rung`, by a clock of its own,
    is owed messages whether or not work is due.
    """

    def __init__(
        self,
        database_url: str,
        queues: Collection[str],
        *,
        busy: Callable[[], bool],
        always_rung: bool = False,
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._database_url = database_url
        self._stages = [stage for stage, queue in QUEUES.items() if queue in queues]
        self._watches_tasks = "index" in queues
        self._busy = busy
        self._always_rung = always_rung
        self._end = end
        self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="deafness-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def heard(self) -> None:
        """Note that a message arrived."""
        self._heard = time.monotonic()

    def look(self) -> None:
        """Note whether there is nothing to hear, or somebody at work; end the process if it has been deaf for long."""
        if self._busy() or not self._is_owed_a_message():
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > DEAF_SECONDS:
            log.error("worker_deaf", seconds=DEAF_SECONDS, detail="a message is due and none arrives; ending")
            self._end(EXIT_STATUS)

    def _is_owed_a_message(self) -> bool:
        # A connection of its own for each look: nothing is to be open when a process of the pool is forked.
        database = Database(self._database_url)
        try:
            with database.reading() as session:
                tasks = has_due_task(session)  # Asked in any case: it tells whether the database answers.
                return self._always_rung or (tasks and self._watches_tasks) or has_claimable(session, self._stages)
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
