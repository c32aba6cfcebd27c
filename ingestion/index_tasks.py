"""Changes that the index still has to make: access, and points that must go. Each may be made twice."""

from collections.abc import Collection, Sequence

import structlog

from core.db.access import effective_of
from core.db.index_tasks import (
    EVERY_KIND,
    IndexTask,
    TaskKind,
    claim_tasks,
    finish_task,
    has_due_task,
    last_served,
    postpone_task,
)
from core.db.purging import purge_catalogue, purge_version
from core.db.receipts import confirm
from core.db.session import Database
from core.db.stages import asked_delay, retry_delay
from ingestion.rests import Rest
from retrieval.ports import VectorIndex

log = structlog.get_logger()

TASKS_AT_ONCE = 64


class IndexTasks:
    """Makes what is due. `rest` is told when the index asks to be left alone."""

    def __init__(self, *, database: Database, index: VectorIndex, rest: Rest, lease_seconds: float) -> None:
        self._database = database
        self._index = index
        self._rest = rest
        self._lease_seconds = lease_seconds
        self._served = ""  # the last tenant of the batch before

    def change_access(self) -> None:
        """Make the changes of access that are due, so that none waits for a whole batch of documents."""
        try:
            with self._database.reading() as session:
                due = has_due_task(session, ["access"])
            if due:
                self.run_once(["access"])
        except Exception as error:  # The tasks stay and are tried again; the documents in hand go on.
            log.warning("index_tasks_failed", exc_info=error)

    def run_once(self, kinds: Collection[TaskKind] = EVERY_KIND) -> int:
        """Make a batch of the changes that are due, of every tenant some; return how many that were."""
        with self._database.transaction() as session:
            tasks = claim_tasks(
                session, limit=TASKS_AT_ONCE, lease_seconds=self._lease_seconds, kinds=kinds, after=self._served
            )
        self._served = last_served(tasks, self._served)
        done = [task for task in tasks if self._run(task)]
        if done:
            try:
                self._index.flush()
            except Exception as error:
                # Not left to their leases, which last for a minute: a right that was given should show at once.
                log.warning("index_tasks_failed", tasks=len(done), exc_info=error)
                self._rest.begin(asked := asked_delay(error))
                with self._database.transaction() as session:
                    for task in done:
                        postpone_task(session, task, asked or retry_delay(task.attempt), type(error).__name__)
            else:
                self._finish(done)
        return len(tasks)

    def _run(self, task: IndexTask) -> bool:
        """Make the change in the index; return whether it is made."""
        try:
            if task.kind == "access":
                with self._database.reading() as session:
                    access = effective_of(session, task.tenant, [task.document]).get(task.document)
                if access is not None:
                    self._index.set_access(
                        task.tenant, task.document, allow=sorted(access.allow), deny=sorted(access.deny)
                    )
            else:
                self._index.delete(task.tenant, task.document, version=task.version)
        except Exception as error:
            log.warning("index_task_failed", task=str(task.id), kind=task.kind, exc_info=error)
            self._rest.begin(asked := asked_delay(error))
            with self._database.transaction() as session:
                postpone_task(session, task, asked or retry_delay(task.attempt), type(error).__name__)
            return False
        return True

    def _finish(self, tasks: Sequence[IndexTask]) -> None:
        with self._database.transaction() as session:
            for task in tasks:
                if task.kind == "purge_version" and task.version is not None:
                    purge_version(session, task.tenant, task.version)
                elif task.kind == "purge_document":
                    confirm(session, task.tenant, task.document, "index", removed=0)
                    purge_catalogue(session, task.tenant, task.document)
                finish_task(session, task)
