"""Rings for work that nobody seems to have heard of: messages get lost, brokers are wiped, workers die."""

from collections.abc import Callable, Mapping

from core.db.answers import end_interrupted
from core.db.index_audits import has_open_audit
from core.db.index_tasks import has_due_task
from core.db.session import Database
from core.db.signs import RECONCILED, note
from core.db.stages import has_claimable
from core.db.wakeups import QUEUES
from core.domain import StageName
from core.jobs import ENOUGH_MESSAGES

ABANDONED_SECONDS = 900.0  # No answer takes so long: the process that wrote it is gone.
ABANDONED: tuple[str, Mapping[str, object]] = (
    "error",
    {"code": "interrupted", "detail": "The service that answered was stopped. Ask again."},
)


def reconcile(database: Database, *, ring: Callable[[str], None], waiting: Callable[[str], int]) -> list[str]:
    """Ring each queue that has work which could be claimed now, leases that lapsed included; return those queues.

    What is being worked on, or waits for its back-off, is left alone: slow is not dead. A queue in whose broker
    messages are `waiting` already is left alone too, so that they do not pile up while nobody takes them. That it came
    round is noted, for operators (`core.db.signs`).

    :raises Unavailable: the database or the broker does not answer; the next round tries again.
    """
    stages: dict[str, list[StageName]] = {}
    for stage, queue in QUEUES.items():
        stages.setdefault(queue, []).append(stage)
    with database.reading() as session:
        due = [queue for queue, names in stages.items() if has_claimable(session, names)]
        if "index" not in due and (has_due_task(session) or has_open_audit(session)):
            due.append("index")
    rung = [queue for queue in due if waiting(queue) < ENOUGH_MESSAGES]
    for queue in rung:
        ring(queue)
    with database.transaction() as session:
        note(session, RECONCILED)
    return rung


def end_abandoned_answers(database: Database) -> int:
    """End the answers that a process left unfinished when it died; return how many that were."""
    with database.transaction() as session:
        return end_interrupted(session, ABANDONED, older_than=ABANDONED_SECONDS)
