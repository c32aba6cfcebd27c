"""An index that was lost, or replaced by an older copy, is noticed and filled again from the catalogue by itself."""

from collections.abc import Sequence

import structlog

from core.db import comparing
from core.db.comparing import Searchable
from core.db.index_audits import has_audit_to_begin, note_refilled, request_audit
from core.db.refilling import refill
from core.db.session import Database
from core.ids import DocumentId, IndexId, TenantId
from retrieval.ports import VectorIndex

log = structlog.get_logger()

DOCUMENTS_AT_ONCE = 500
POINTS_AT_ONCE = 250
SAMPLE = 50  # Documents that a start looks up: enough to notice a copy of the index that is older than the catalogue.


def rebuild_lost_index(database: Database, index: VectorIndex, index_id: IndexId, embedder_id: str) -> int:
    """Queue every document for an index that holds no point although it should; return how many those are.

    An audit is asked for first, so that a kill in the middle of this leaves it to be finished by that.
    """
    if not _is_empty(index):
        return 0
    with database.reading() as session:
        lost = comparing.expects_points(session, index_id)
        tenants = comparing.tenants_of(session)
    if not lost or not _is_empty(index):  # Others may be at work: it is empty after all that too.
        return 0
    log.warning("index_lost", index=index_id, detail="it holds nothing: every document is put back into it")
    with database.transaction() as session:
        asked = request_audit(session, "start")
    count = sum(_refill_all(database, tenant, index_id, embedder_id) for tenant in tenants)
    with database.transaction() as session:
        note_refilled(session, asked.id, count)
    log.warning("index_rebuilding", index=index_id, documents=count)
    return count


def check_index_at_start(database: Database, index: VectorIndex, index_id: IndexId, embedder_id: str) -> None:
    """Fill a lost index again; ask for an audit if the last documents are not in it, as in an older copy.

    To be called before requests are served: whoever asks then what became of a document hears that it waits.
    """
    if rebuild_lost_index(database, index, index_id, embedder_id):
        return
    with database.reading() as session:
        if has_audit_to_begin(session):  # One that has begun may have looked at these documents before they were lost.
            return
        last = comparing.last_indexed(session, index_id, SAMPLE)
        sample: list[Searchable] = []
        for tenant in sorted({tenant for tenant, _ in last}):
            documents = [document for of, document in last if of == tenant]
            sample += comparing.searchable_among(session, index_id, tenant, documents)
    lacking = [one for one in sample if not one.changing and _lacks(index, one)]
    if not lacking:
        return
    log.warning("index_behind", index=index_id, detail="documents are missing in it: it is compared with the catalogue")
    with database.transaction() as session:
        asked = request_audit(session, "start")
    for tenant in sorted({one.tenant for one in lacking}):
        ours = {one.document: one.version for one in lacking if one.tenant == tenant}
        with database.transaction() as session:
            count = len(refill(session, tenant, ours, index_id=index_id, model=embedder_id))
            note_refilled(session, asked.id, count)


def _is_empty(index: VectorIndex) -> bool:
    """Whether the index holds no point of ours."""
    page = index.stored_page(limit=1)
    while not page.points and page.next is not None:  # Begins with what somebody else has put there.
        page = index.stored_page(page.next, limit=POINTS_AT_ONCE)
    return not page.points


def _lacks(index: VectorIndex, one: Searchable) -> bool:
    return index.count(one.tenant, one.document, one.version) < one.chunks


def _refill_all(database: Database, tenant: TenantId, index_id: IndexId, embedder_id: str) -> int:
    count = 0
    after: DocumentId | None = None
    while some := _next(database, tenant, index_id, after):
        after = some[-1].document
        versions = {one.document: one.version for one in some if not one.changing}
        with database.transaction() as session:
            count += len(refill(session, tenant, versions, index_id=index_id, model=embedder_id))
    return count


def _next(database: Database, tenant: TenantId, index_id: IndexId, after: DocumentId | None) -> Sequence[Searchable]:
    with database.reading() as session:
        return comparing.searchable_after(session, index_id, tenant, after, DOCUMENTS_AT_ONCE)
