"""The last step in: points into the index, read back, and only then the switch that readers see. And every way out.

One thread of the process that owns the index runs this. A kill at any line leaves rows that say what is still to do;
doing it again is harmless, since a chunk's point has one id and access is read anew each time.
"""

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from core.db.access import effective_of
from core.db.chunks import chunks_of, count_chunks, embeddings_of
from core.db.flipping import leave_index, make_current
from core.db.index_tasks import has_due_task
from core.db.session import Database
from core.db.stages import ClaimedStage, asked_delay, claim, has_claimable
from core.db.wakeups import drain
from core.domain import Reason, StageName
from core.errors import FootnoteError, LeaseLost
from core.ids import IndexId
from ingestion.endings import MOST_ATTEMPTS, Endings, InputLost
from ingestion.index_tasks import IndexTasks
from ingestion.leases import LEASE_SECONDS, HeldLeases
from ingestion.rests import Rest
from retrieval.ports import IndexPoint, SparseEncoder, VectorIndex
from retrieval.sparse import bm25_text

log = structlog.get_logger()

STAGES_AT_ONCE = 16
POINTS_AT_ONCE = 32  # The embedded engine holds the GIL while it writes: questions get their turn in between.
CHUNKS_AT_ONCE = 1_000  # Read together, with their vectors; changes of access come between.
POLL_SECONDS = 0.1
GATHER_SECONDS = 0.3  # A flush costs as much for one document as for many: what comes in between is taken together.
AUDIT_PAUSE_SECONDS = 0.02  # Between two steps of an audit: questions, which the embedded engine holds up, come first.
COLLECT_SECONDS = 600.0


class IndexLoop:
    """Runs the `index` stages of `index_id` (None: of any) and the index tasks against one index.

    Where it `polls` for work, nobody needs the wake-ups, and it takes them off the list. Its leases are kept by `held`,
    or, without, by a heart of its own that beats as long as the loop runs. `audit` does a small step of an audit that
    is due, and says whether there is more of it.
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
        held: HeldLeases | None = None,
        audit: Callable[[], bool] = lambda: False,
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
        self._audit = audit
        self._rest = Rest()
        self._tasks = IndexTasks(database=database, index=index, rest=self._rest, lease_seconds=lease_seconds)
        self._held = held or HeldLeases(database, lease_seconds=lease_seconds)
        self._beats = held is None
        self._endings = Endings(database, self._held)
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
        if self._beats:
            self._held.start()
        self._thread.start()

    def wake(self) -> None:
        """Look for work now rather than at the next poll, or soon after a turn that was not full."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the batch in hand and end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
            if self._beats:
                self._held.stop()
        if self._collector is not None:
            self._collector.join()

    def run_once(self) -> int:
        """Do what is ready now; return how much that was. Nothing while the index wants to be left alone."""
        if not self._rest.over:
            return 0
        with self._database.reading() as session:  # Writers are not to queue behind a loop that has nothing to do.
            tasks = has_due_task(session)
            stages, suspects = (
                has_claimable(session, [StageName.INDEX], index_ids=self._index_ids, suspects=part)
                for part in (False, True)
            )
        done = self._tasks.run_once() if tasks else 0
        done += self._run_stages(STAGES_AT_ONCE, suspects=False) if stages else 0
        # One suspect by itself, so that only its own attempts bring it to the end.
        return done + (self._run_stages(1, suspects=True) if suspects else 0)

    def audit_once(self) -> int:
        """Do a step of the audit that is due; return whether there is more of it, as 0 or 1."""
        return int(self._audit()) if self._rest.over else 0

    def _run(self) -> None:
        while not self._stopping.is_set():
            auditing, began = 0, time.monotonic()
            try:
                count = self.run_once()
                auditing = self.audit_once()
                if time.monotonic() - self._collected > COLLECT_SECONDS:
                    self._start_collecting()
            except Exception as error:
                log.warning("index_loop_failed", exc_info=error)
                count = 0
                self._stopping.wait(1)
            if not count:
                self._wake.wait(AUDIT_PAUSE_SECONDS if auditing else POLL_SECONDS)
                self._wake.clear()
            elif count < STAGES_AT_ONCE:
                self._stopping.wait(began + GATHER_SECONDS - time.monotonic())

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

    def _run_stages(self, limit: int, *, suspects: bool) -> int:
        with self._database.transaction() as session:
            if self._polls:
                drain(session)  # Here this loop and the worker's poll, so a wake-up has nobody left to wake.
            claimed = claim(
                session,
                [StageName.INDEX],
                owner=self._owner,
                limit=limit,
                lease_seconds=self._lease_seconds,
                index_ids=self._index_ids,
                suspects=suspects,
            )
        stages = self._endings.but_worn_out(claimed, f"the index died {MOST_ATTEMPTS} times while it wrote this")
        self._held.add(stages)
        try:
            if stages:
                self._index_all(stages)
        finally:  # Whatever happened: a lease that nobody works under is to lapse.
            for stage in stages:
                self._held.remove(stage)
        return len(claimed)

    def _index_all(self, stages: Sequence[ClaimedStage]) -> None:
        with self._database.reading() as session:
            counts = {stage.id: count_chunks(session, stage.tenant, stage.version) for stage in stages}
        self._index_together([stage for stage in stages if counts[stage.id] <= CHUNKS_AT_ONCE])
        for stage in stages:
            if counts[stage.id] > CHUNKS_AT_ONCE:  # After the short ones, which need not wait for it.
                self._index_together([stage])

    def _index_together(self, stages: Sequence[ClaimedStage]) -> None:
        written: list[tuple[ClaimedStage, int]] = []
        for stage in stages:
            if (count := self._write(stage)) is not None:
                written.append((stage, count))
            self._tasks.change_access()
        if written and not self._flushed([stage for stage, _ in written]):
            return
        complete = [stage for stage, count in written if self._is_complete(stage, count)]
        if complete:  # In the order in which changes of access lock documents, so that nobody waits in a circle.
            self._make_current(sorted(complete, key=lambda stage: (stage.tenant, stage.document)))

    def _write(self, stage: ClaimedStage) -> int | None:
        """Upsert the version's points; return how many, or None when that failed and is dealt with."""
        written = 0
        try:
            with self._database.reading() as session:
                total = count_chunks(session, stage.tenant, stage.version)
            while written < total:
                count = self._write_some(stage, first=written, total=total)
                if not count:
                    break  # The document was purged meanwhile: the stage is no longer this loop's.
                written += count
                self._tasks.change_access()
        except InputLost as error:
            self._endings.redo(stage, Reason.INDEX_FAILED, error)
            return None
        except Exception as error:  # noqa: BLE001 - the stage row must tell what happened, whatever it was
            self._postpone(stage, error)
            return None
        return written

    def _write_some(self, stage: ClaimedStage, *, first: int, total: int) -> int:
        """Upsert the points of the next chunks, with the access that holds now; return how many."""
        with self._database.reading() as session:
            chunks = chunks_of(session, stage.tenant, stage.version, first=first, limit=CHUNKS_AT_ONCE)
            hashes = [text_hash for _, text_hash in chunks]
            vectors = embeddings_of(session, stage.tenant, self._embedder_id, hashes)
            access = effective_of(session, stage.tenant, [stage.document])[stage.document]
        if lost := len(set(hashes) - vectors.keys()):
            raise InputLost(f"The vectors of {lost} passages are gone.")
        allow, deny = tuple(sorted(access.allow)), tuple(sorted(access.deny))
        for start in range(0, len(chunks), POINTS_AT_ONCE):
            points = [
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
            self._index.upsert(points)
            self._held.progressed(stage, (first + start + len(points)) / total)
            time.sleep(0)
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
        """Queue the stage again, or give up when it keeps failing by itself; an index that asks for rest gets it."""
        self._rest.begin(asked_delay(error))
        self._endings.postpone(stage, Reason.INDEX_FAILED, error)
