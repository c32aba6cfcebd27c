"""The last step in: points into the index, read back, and only then the switch that readers see. And every way out.

One thread of the process that owns the index runs this. A kill at any line leaves rows that say what is still to do;
doing it again is harmless, since a chunk's point has one id and access is read anew each time.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence

import structlog

from core.db.access import effective_of
from core.db.chunks import chunks_of, embeddings_of
from core.db.flipping import leave_index, make_current
from core.db.index_tasks import (
    EVERY_KIND,
    IndexTask,
    TaskKind,
    claim_tasks,
    finish_task,
    has_due_task,
    postpone_task,
)
from core.db.purging import purge_catalogue, purge_version
from core.db.receipts import confirm
from core.db.session import Database
from core.db.stages import ClaimedStage, claim, fail, has_claimable, retry_delay, retry_later
from core.db.wakeups import drain
from core.domain import Reason, StageName
from core.errors import FootnoteError, LeaseLost
from core.ids import IndexId
from ingestion.leases import LEASE_SECONDS
from retrieval.ports import IndexPoint, SparseEncoder, VectorIndex
from retrieval.sparse import bm25_text

log = structlog.get_logger()

STAGES_AT_ONCE = 16
TASKS_AT_ONCE = 64
POINTS_AT_ONCE = 32  # The embedded engine holds the GIL while it writes: questions get their turn in between.
POLL_SECONDS = 0.1
MOST_ATTEMPTS = 25
COLLECT_SECONDS = 600.0


class IndexLoop:
    """Runs the `index` stages of `index_id` (None: of any) and the index tasks against one index.

    Where it `polls` for work, nobody needs the wake-ups, and it takes them off the list.
    """

    def __init__(  # noqa: PLR0913 - the collaborators of three kinds of work, by keyword
        self,
        *,
        database: Database,
        collect: Callable[[], int],
        index: VectorIndex,
        sparse: SparseEncoder,
        embedder_id: str,
        owner: str,
        index_id: IndexId | None = None,
        lease_seconds: float = LEASE_SECONDS,
        polls: bool = True,
    ) -> None:
        self._database = database
        self._collect = collect
        self._index = index
        self._sparse = sparse
        self._embedder_id = embedder_id
        self._owner = owner
        self._index_ids = None if index_id is None else (index_id,)
        self._lease_seconds = lease_seconds
        self._polls = polls
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index-loop", daemon=True)
        self._collector: threading.Thread | None = None
        self._collected = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the thread runs: without it nothing becomes searchable."""
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look for work now rather than at the next poll."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the batch in hand and end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._collector is not None:
            self._collector.join()

    def run_once(self) -> int:
        """Do what is ready now; return how much that was."""
        with self._database.reading() as session:  # Writers are not to queue behind a loop that has nothing to do.
            tasks = has_due_task(session)
            stages = has_claimable(session, [StageName.INDEX], index_ids=self._index_ids)
        return (self._run_tasks() if tasks else 0) + (self._run_stages() if stages else 0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                count = self.run_once()
                if time.monotonic() - self._collected > COLLECT_SECONDS:
                    self._start_collecting()
            except Exception as error:
                log.warning("index_loop_failed", exc_info=error)
                count = 0
                self._stopping.wait(1)
            if not count:
                self._wake.wait(POLL_SECONDS)
                self._wake.clear()

    def _start_collecting(self) -> None:
        """Collect beside the loop: neither waits for the other."""
        if self._collector is None or not self._collector.is_alive():
            self._collected = time.monotonic()
            self._collector = threading.Thread(target=self._collect_once, name="collector", daemon=True)
            self._collector.start()

    def _collect_once(self) -> None:
        try:
            self._collect()
        except Exception as error:
            log.warning("collecting_failed", exc_info=error)

    def _run_stages(self) -> int:
        with self._database.transaction() as session:
            if self._polls:
                drain(session)  # Here this loop and the worker's poll, so a wake-up has nobody left to wake.
            stages = claim(
                session,
                [StageName.INDEX],
                owner=self._owner,
                limit=STAGES_AT_ONCE,
                lease_seconds=self._lease_seconds,
                index_ids=self._index_ids,
            )
        written: list[tuple[ClaimedStage, int]] = []
        for stage in stages:
            if (count := self._write(stage)) is not None:
                written.append((stage, count))
            self._change_access()
        if written and not self._flushed([stage for stage, _ in written]):
            return len(stages)
        complete = [stage for stage, count in written if self._is_complete(stage, count)]
        if complete:
            self._make_current(complete)
        return len(stages)

    def _change_access(self) -> None:
        """Make the changes of access that are due, so that none waits for a whole batch of documents."""
        try:
            with self._database.reading() as session:
                due = has_due_task(session, ["access"])
            if due:
                self._run_tasks(["access"])
        except Exception as error:  # The tasks stay and are tried again; the documents in hand go on.
            log.warning("index_tasks_failed", exc_info=error)

    def _write(self, stage: ClaimedStage) -> int | None:
        """Upsert the version's points; return how many, or None when that failed and is dealt with."""
        try:
            with self._database.reading() as session:
                chunks = chunks_of(session, stage.tenant, stage.version)
                hashes = [text_hash for _, text_hash in chunks]
                vectors = embeddings_of(session, stage.tenant, self._embedder_id, hashes)
                access = effective_of(session, stage.tenant, [stage.document])[stage.document]
            allow, deny = tuple(sorted(access.allow)), tuple(sorted(access.deny))
            for start in range(0, len(chunks), POINTS_AT_ONCE):
                self._index.upsert(
                    [
                        IndexPoint(
                            chunk=chunk.id,
                            tenant=chunk.tenant,
                            document=chunk.document,
                            version=chunk.version,
                            dense=vectors[text_hash],
                            sparse=self._sparse.encode_document(bm25_text(chunk)),
                            allow=allow,
                            deny=deny,
                        )
                        for chunk, text_hash in chunks[start : start + POINTS_AT_ONCE]
                    ]
                )
                time.sleep(0)
        except Exception as error:  # noqa: BLE001 - the stage row must tell what happened, whatever it was
            self._postpone(stage, error)
            return None
        return len(chunks)

    def _flushed(self, stages: Sequence[ClaimedStage]) -> bool:
        """Wait until what was written is durable; return whether it is."""
        try:
            self._index.flush()
        except Exception as error:  # noqa: BLE001 - as above
            for stage in stages:
                self._postpone(stage, error)
            return False
        return True

    def _is_complete(self, stage: ClaimedStage, expected: int) -> bool:
        """Read the points back: return whether all are there."""
        try:
            found = self._index.count(stage.tenant, stage.document, stage.version)
        except Exception as error:  # noqa: BLE001 - as above
            self._postpone(stage, error)
            return False
        if found != expected:
            self._postpone(stage, FootnoteError(f"The index holds {found} of {expected} passages."))
        return found == expected

    def _make_current(self, stages: Sequence[ClaimedStage]) -> None:
        """Let readers see these versions."""
        try:
            with self._database.transaction() as session:
                for stage in stages:
                    try:
                        make_current(session, stage)
                    except LeaseLost:  # Raised before anything is written, so the others are not touched.
                        log.info("lease_lost", stage=str(stage.id), name=stage.name)
                        leave_index(session, stage)
        except Exception as error:  # noqa: BLE001 - as above
            if len(stages) == 1:
                self._postpone(stages[0], error)
                return
            for stage in stages:
                self._make_current([stage])

    def _postpone(self, stage: ClaimedStage, error: Exception) -> None:
        """Queue the stage again, or give up when it keeps failing by itself. If even that fails, its lease lapses."""
        detail = error.detail if isinstance(error, FootnoteError) else type(error).__name__
        counted = not (isinstance(error, FootnoteError) and error.retryable)
        log.warning("stage_failed", stage=str(stage.id), name=stage.name, attempt=stage.attempt, exc_info=error)
        try:
            with self._database.transaction() as session:
                if counted and stage.attempt >= MOST_ATTEMPTS:
                    fail(session, stage, Reason.INDEX_FAILED, detail)
                else:
                    retry_later(session, stage, None, Reason.INDEX_FAILED, detail, counted=counted)
        except LeaseLost:
            log.info("lease_lost", stage=str(stage.id), name=stage.name)
        except Exception as unsettled:
            log.warning("stage_unsettled", stage=str(stage.id), name=stage.name, exc_info=unsettled)

    def _run_tasks(self, kinds: Collection[TaskKind] = EVERY_KIND) -> int:
        with self._database.transaction() as session:
            tasks = claim_tasks(session, limit=TASKS_AT_ONCE, lease_seconds=self._lease_seconds, kinds=kinds)
        done = [task for task in tasks if self._run_task(task)]
        if done:
            try:
                self._index.flush()
            except Exception as error:
                # Not left to their leases, which last for a minute: a right that was given should show at once.
                log.warning("index_tasks_failed", tasks=len(done), exc_info=error)
                with self._database.transaction() as session:
                    for task in done:
                        postpone_task(session, task, retry_delay(task.attempt), type(error).__name__)
            else:
                self._finish(done)
        return len(tasks)

    def _run_task(self, task: IndexTask) -> bool:
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
            with self._database.transaction() as session:
                postpone_task(session, task, retry_delay(task.attempt), type(error).__name__)
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
