"""Keeps the leases that a worker holds alive while it works, and passes on how far it has come."""

import threading
from collections.abc import Iterable

import structlog

from core.db.session import Database
from core.db.stages import ClaimedStage, renew
from core.ids import StageId

log = structlog.get_logger()

LEASE_SECONDS = 60.0
BEATS = 6  # of the heart in a lease: some may be late without the work being taken away.


class HeldLeases:
    """The stages in hand; a thread renews their leases until they are removed or the process dies.

    A heartbeat alone shows that the process lives, not that the work goes on: so it tells, too, of what has moved.
    """

    def __init__(self, database: Database, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self.lease_seconds = lease_seconds
        self._stages: dict[StageId, ClaimedStage] = {}
        self._moved: dict[StageId, float] = {}  # since the last heartbeat
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def add(self, stages: Iterable[ClaimedStage]) -> None:
        with self._lock:
            self._stages.update({stage.id: stage for stage in stages})

    def remove(self, stage: ClaimedStage) -> None:
        with self._lock:
            self._stages.pop(stage.id, None)
            self._moved.pop(stage.id, None)

    def progressed(self, stage: ClaimedStage, fraction: float) -> None:
        """Note that so much of the stage is done, from 0 to 1; the next heartbeat writes it down."""
        with self._lock:
            if stage.id in self._stages:
                self._moved[stage.id] = min(1.0, max(0.0, fraction))

    def _run(self) -> None:
        while not self._stopping.wait(self.lease_seconds / BEATS):
            with self._lock:
                stages = list(self._stages.values())
                moved, self._moved = self._moved, {}
            if not stages:
                continue
            try:
                with self._database.transaction() as session:
                    renew(session, stages, self.lease_seconds, moved)
            except Exception as error:
                log.warning("heartbeat_failed", exc_info=error)
                with self._lock:  # Told with the next one, unless there is newer news by then.
                    self._moved = {stage: moved[stage] for stage in moved if stage in self._stages} | self._moved
