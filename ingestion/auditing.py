"""The audit: what the index holds against what the catalogue says, both ways, healed and counted.

It runs in the hand that writes the index, a small step at a time, so nobody else writes between a look and a healing.
Where the audit is, is kept with what it counted: whoever takes it over looks at the last seconds' worth again.
"""

import time

import structlog

from core.db.index_audits import (
    Counts,
    claim_audit,
    finish_audit,
    get_audit,
    has_open_audit,
    nightly_is_due,
    postpone_audit,
    renew_audit,
    schedule_nightly,
)
from core.db.session import Database
from core.ids import IndexId
from ingestion.audit_run import AuditRun, HasFile
from ingestion.rebuilding import rebuild_lost_index
from retrieval.ports import VectorIndex

log = structlog.get_logger()

LEASE_SECONDS = 600.0
RENEW_SECONDS = 20.0
DUE_SECONDS = 1.0
LOOK_SECONDS = 60.0
DELAY_SECONDS = 60.0  # Until an audit that could not go on is tried again.


class Auditor:
    """Makes the audits that are due, of one index. For the one thread that writes this index.

    `has_file` tells whether the bytes of a hash are stored. `hour` is the hour (UTC) from which the nightly one of a
    date is due.
    """

    def __init__(
        self,
        *,
        database: Database,
        index: VectorIndex,
        index_id: IndexId,
        embedder_id: str,
        has_file: HasFile,
        owner: str,
        hour: int,
        due_seconds: float = DUE_SECONDS,
    ) -> None:
        self._database = database
        self._index = index
        self._index_id = index_id
        self._embedder_id = embedder_id
        self._has_file = has_file
        self._owner = owner
        self._hour = hour
        self._due_seconds = due_seconds
        self._run: AuditRun | None = None
        self._asked = self._looked = self._renewed = float("-inf")

    def step(self) -> bool:
        """Do a little of the audit that is due, if there is one; return whether there is more of it to do."""
        if self._run is None:
            self._run = self._begun()
        run = self._run
        if run is None:
            return False
        try:
            more = run.step()
            if not self._kept(run, more=more):
                log.info("audit_lost", audit=str(run.claimed.id))
                more = False
        except Exception as error:  # noqa: BLE001 - whatever does not answer, the audit is made later
            self._put_off(run, error)
            more = False
        if not more:
            self._run = None
        return more

    def _begun(self) -> AuditRun | None:
        moment = time.monotonic()
        if moment - self._asked < self._due_seconds:
            return None
        self._asked = moment
        if moment - self._looked >= LOOK_SECONDS:
            self._looked = moment
            self._look()
        with self._database.reading() as session:
            if not has_open_audit(session):
                return None
        with self._database.transaction() as session:
            claimed = claim_audit(session, owner=self._owner, lease_seconds=LEASE_SECONDS)
        if claimed is None:
            return None
        self._renewed = moment
        return AuditRun(
            claimed,
            database=self._database,
            index=self._index,
            index_id=self._index_id,
            embedder_id=self._embedder_id,
            has_file=self._has_file,
        )

    def _look(self) -> None:
        """Ask for the nightly audit when its time has come, and see whether the whole index was lost."""
        with self._database.reading() as session:
            due = nightly_is_due(session, self._hour)
        if due:
            with self._database.transaction() as session:
                schedule_nightly(session, self._hour)
        rebuild_lost_index(self._database, self._index, self._index_id, self._embedder_id)

    def _kept(self, run: AuditRun, *, more: bool) -> bool:
        """Keep what was counted: at the end, after a healing, and now and then; return whether the audit is ours."""
        if not more:
            with self._database.transaction() as session:
                ours = finish_audit(session, run.claimed, run.progress)
                found = get_audit(session, run.claimed.id)
            if ours and found is not None:
                self._tell(found.counts)
            return ours
        if not run.healed and time.monotonic() - self._renewed < RENEW_SECONDS:
            return True
        self._renewed = time.monotonic()
        with self._database.transaction() as session:
            ours = renew_audit(session, run.claimed, run.progress, lease_seconds=LEASE_SECONDS)
        run.count_anew()
        return ours

    def _put_off(self, run: AuditRun, error: Exception) -> None:
        log.warning("audit_postponed", audit=str(run.claimed.id), exc_info=error)
        try:
            with self._database.transaction() as session:
                postpone_audit(session, run.claimed, run.progress, DELAY_SECONDS)
        except Exception as unsettled:
            log.warning("audit_unsettled", audit=str(run.claimed.id), exc_info=unsettled)  # Its lease lapses.

    def _tell(self, counts: Counts) -> None:
        healed = counts.points_removed or counts.documents_refilled or counts.access_rewritten or counts.files_missing
        tell = log.warning if healed else log.info
        tell("audit_finished", **{name: getattr(counts, name) for name in Counts.__dataclass_fields__})
