"""An audit gives way to everything else, and goes on where it was."""

import time
from collections import Counter
from collections.abc import Callable

import pytest

from core.db import access
from core.db.index_audits import IndexAudit, get_audit, list_audits, note_refilled, request_audit
from core.errors import Unavailable
from core.ids import ChunkId, DocumentId, TenantId, VersionId
from ingestion import audit_run, auditing
from ingestion.audit_run import STEP_SECONDS
from ingestion.auditing import Auditor
from retrieval.index.memory import MemoryIndex
from tests.ingestion.audits import audited, healed
from tests.ingestion.works import INDEX, TENANT, Works, story

DOCUMENTS = 12


def _auditor(works: Works, has_file: Callable[[TenantId, str], bool], owner: str = "auditor-1") -> Auditor:
    return Auditor(
        database=works.database,
        index=works.index,
        index_id=INDEX,
        embedder_id=works.embedder.id,
        has_file=has_file,
        owner=owner,
        hour=24,
        due_seconds=0.0,
    )


def _filled(works: Works) -> list[DocumentId]:
    documents = [works.upload(story(f"tea{number}", 2), f"{number}.txt") for number in range(DOCUMENTS)]
    works.work()
    return documents


def _ask(works: Works) -> None:
    with works.database.transaction() as session:
        request_audit(session)


def _last(works: Works) -> IndexAudit:
    with works.database.reading() as session:
        return list_audits(session)[0]


def test_no_step_waits_for_more_than_one_slow_answer_beyond_its_time(works: Works) -> None:
    _filled(works)
    _ask(works)
    asked: list[str] = []

    def slow(tenant: TenantId, hash_: str) -> bool:
        asked.append(hash_)
        time.sleep(STEP_SECONDS / 4)
        return works.blobs.has(tenant, hash_)

    one = _auditor(works, slow)
    most, before = 0, 0
    while one.step():
        most, before = max(most, len(asked) - before), len(asked)
    assert len(asked) == 2 * DOCUMENTS
    assert most <= 6  # A step's time, and the two files of the version that it ended with.
    assert _last(works).counts.files == 2 * DOCUMENTS


def test_documents_are_counted_in_a_slow_index_in_steps_too(works: Works) -> None:
    _filled(works)
    _ask(works)
    counted: list[DocumentId] = []

    class Slow(MemoryIndex):
        def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
            counted.append(document)
            time.sleep(STEP_SECONDS / 4)
            return super().count(tenant, document, version)

    whole = works.index
    assert isinstance(whole, MemoryIndex)
    works.index = Slow()
    works.index._stored = whole._stored
    one = _auditor(works, works.blobs.has)
    most, before = 0, 0
    while one.step():
        most, before = max(most, len(counted) - before), len(counted)
    assert most <= 5
    assert Counter(counted).total() == DOCUMENTS
    assert _last(works).counts.documents == DOCUMENTS


def test_strays_of_many_documents_are_removed_in_steps_and_counted_once(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_run, "STEP_SECONDS", 0.0)  # Every step does the least that it may.
    documents = _filled(works)
    gone = [stored for stored in works.index.stored() if stored.document in documents[:3]]
    assert isinstance(works.index, MemoryIndex)
    leftovers = [one.point for one in works.index._stored.values() if one.point.document in documents[:3]]
    for document in documents[:3]:
        works.delete(document)
    works.work()
    works.index.upsert(leftovers)
    removed: list[int] = []
    found = audited(works, between=lambda: removed.append(len(works.points())))
    assert found.counts.points_removed == len(gone)
    assert found.counts.points == len(gone) + len(works.points())
    assert len(set(removed)) >= 3


def test_an_audit_that_a_service_interrupted_goes_on_where_it_was(works: Works) -> None:
    _filled(works)
    _ask(works)
    asked: Counter[str] = Counter()
    away = [5, 11]

    def moody(tenant: TenantId, hash_: str) -> bool:
        if away and asked.total() == away[0]:
            away.pop(0)
            raise Unavailable("the store is away")
        asked[hash_] += 1
        return works.blobs.has(tenant, hash_)

    for _ in range(2):
        one = _auditor(works, moody)
        while one.step():
            pass
        assert _last(works).finished_at is None
        works.lapse_audits()
    one = _auditor(works, moody, "another")
    while one.step():
        pass
    found = _last(works)
    assert found.finished_at is not None
    assert asked.total() <= 2 * DOCUMENTS + 2  # Again at most the file before the one that failed, of its version.
    assert len(asked) == 2 * DOCUMENTS
    assert (found.counts.files, found.counts.documents) == (2 * DOCUMENTS, DOCUMENTS)
    assert found.counts.points == sum(works.points().values())


def test_missing_files_found_before_an_interruption_are_told_in_the_end(works: Works) -> None:
    documents = _filled(works)
    for blob in list(works.blobs.list(TENANT)):
        works.blobs.delete(TENANT, blob.hash)
    _ask(works)
    calls = 0

    def moody(tenant: TenantId, hash_: str) -> bool:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise Unavailable("the store is away")
        return works.blobs.has(tenant, hash_)

    for _ in range(2):
        one = _auditor(works, moody)
        while one.step():
            pass
        works.lapse_audits()
    found = _last(works)
    assert found.counts.files_missing == 2 * DOCUMENTS
    named = Counter((one["document"], one["kind"]) for one in found.missing)
    assert named == {(str(document), kind): 1 for document in documents for kind in ("original", "parsed")}


def test_what_is_deleted_and_purged_between_two_steps_is_no_drift(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_run, "POINTS_AT_ONCE", 4)
    documents = _filled(works)
    left = list(documents[1:])

    def live() -> None:
        if left:
            works.delete(left.pop())
        works.loop.run_once()

    found = audited(works, between=live)
    assert len(left) < DOCUMENTS - 2  # It did happen while the points were looked at.
    assert healed(found.counts) == (0, 0, 0, 0)


def test_rights_that_change_between_two_steps_are_no_drift(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_run, "POINTS_AT_ONCE", 4)
    documents = _filled(works)
    left = list(documents)

    def live() -> None:
        if left:
            with works.database.transaction() as session:
                access.change_document_access(session, TENANT, left.pop(), allow=["group:late"], deny=[])
        works.loop.run_once()

    assert healed(audited(works, between=live).counts) == (0, 0, 0, 0)


def test_what_a_rebuilding_counts_meanwhile_is_not_overwritten(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "RENEW_SECONDS", 0.0)
    documents = _filled(works)
    stored = next(one for one in works.index.stored() if one.document == documents[0])
    works.index.delete_chunks(TENANT, stored.document, [ChunkId(stored.chunk)])
    with works.database.transaction() as session:
        asked = request_audit(session)
    one = _auditor(works, works.blobs.has)
    assert one.step()
    with works.database.transaction() as session:
        note_refilled(session, asked.id, 7)
    while one.step():
        pass
    with works.database.reading() as session:
        found = get_audit(session, asked.id)
    assert found is not None
    assert found.counts.documents_refilled == 8
    assert found.counts.documents == DOCUMENTS
