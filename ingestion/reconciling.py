"""Rings for work that nobody seems to have heard of: messages get lost, brokers are wiped, workers die."""

from collections.abc import Callable

from core.db.index_tasks import has_due_task
from core.db.session import Database
from core.db.stages import has_claimable
from core.db.wakeups import QUEUES
from core.domain import StageName

RINGS = 4  # Messages per queue and round: one worker that wakes goes on until nothing is due.


def reconcile(database: Database, ring: Callable[[str], None]) -> list[str]:
    """Ring each queue that has work which could be claimed now, leases that lapsed included; return those queues.

    What is being worked on, or waits for its back-off, is left alone: slow is not dead. A message too many finds
    nothing to claim, so no state is kept of what was rung for.

    :raises Unavailable: the database or the broker does not answer; the next round tries again.
    """
    stages: dict[str, list[StageName]] = {}
    for stage, queue in QUEUES.items():
        stages.setdefault(queue, []).append(stage)
    with database.reading() as session:
        waiting = [queue for queue, names in stages.items() if has_claimable(session, names)]
        if "index" not in waiting and has_due_task(session):
            waiting.append("index")
    for queue in waiting:
        for _ in range(RINGS):
            ring(queue)
    return waiting
