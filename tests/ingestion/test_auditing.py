import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from core.db import access
from core.db.index_audits import get_audit, list_audits, request_audit
from core.db.tables import EmbeddingRow
from core.domain import DocumentState, StageName
from core.errors import IndexUnavailable
from core.ids import ChunkId, DocumentId, TenantId, VersionId
from retrieval.index.memory import MemoryIndex
from retrieval.ports import IndexPoint
from tests.ingestion.audits import assert_agreed, audited, auditor, healed, opened_database
from tests.ingestion.conftest import Logged
from tests.ingestion.works import TENANT, Killed, Works, story


def _points(works: Works, document: DocumentId) -> list[IndexPoint]:
    assert isinstance(works.index, MemoryIndex)
    return [stored.point for stored in works.index._stored.values() if stored.point.document == document]


def _visible(works: Works) -> set[ChunkId]:
    return {hit.chunk.id for topic in ("tea", "coffee", "cocoa") for hit in works.search(topic)}


def test_an_index_that_agrees_with_the_catalogue_is_left_as_it_is(works: Works, logged: Logged) -> None:
    works.upload(story("tea"))
    works.upload(story("coffee"), "b.txt")
    works.work()
    before = works.points()
    found = audited(works)
    assert (found.counts.points, found.counts.documents, found.counts.files) == (sum(before.values()), 2, 4)
    assert healed(found.counts) == (0, 0, 0, 0)
    assert works.points() == before
    assert works.step() == 0
    assert not [event for event in logged if event["log_level"] != "info"]


def test_points_that_no_document_has_are_removed_and_counted(works: Works) -> None:
    kept = works.upload(story("tea"))
    gone = works.upload(story("coffee"), "b.txt")
    works.work()
    (model, *_), leftovers = _points(works, kept), _points(works, gone)
    works.delete(gone)
    works.work()
    unknown = replace(model, document=DocumentId(uuid4()), version=VersionId(uuid4()), chunk=ChunkId(uuid4()))
    foreign = replace(unknown, tenant=TenantId("removed"), chunk=ChunkId(uuid4()))
    other_version = replace(model, version=VersionId(uuid4()), chunk=ChunkId(uuid4()))
    no_chunk = replace(model, chunk=ChunkId(uuid4()))
    works.index.upsert([*leftovers, unknown, foreign, other_version, no_chunk])
    seen = _visible(works)
    found = audited(works, between=lambda: _same(_visible(works), seen))
    assert healed(found.counts) == (len(leftovers) + 4, 0, 0, 0)
    assert_agreed(works)


def _same(one: object, other: object) -> None:
    assert one == other


def test_what_is_missing_is_put_back_while_readers_keep_what_is_left(works: Works) -> None:
    document = works.upload(story("tea"))
    works.upload(story("coffee"), "b.txt")
    works.work()
    whole = _visible(works)
    lost = _points(works, document)[0]
    works.index.delete_chunks(TENANT, document, [lost.chunk])
    left = _visible(works)
    assert left == whole - {lost.chunk}

    found = audited(works, between=lambda: _same(_visible(works), left))
    assert healed(found.counts) == (0, 1, 0, 0)
    told = works.status(document)
    assert told.state is DocumentState.QUEUED
    assert told.searchable_version == told.version
    assert told.detail is not None
    assert "put back into the search index" in told.detail
    assert _visible(works) == left

    assert healed(audited(works).counts) == (0, 0, 0, 0)  # It is in hand already.
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert _visible(works) == whole
    assert_agreed(works)


def test_passages_whose_vectors_are_lost_too_are_embedded_again(works: Works) -> None:
    works.upload(story("coffee"), "b.txt")
    document = works.upload(story("tea"))
    works.work()
    whole = _visible(works)
    works.index.delete(TENANT, document)
    with works.database.transaction() as session:
        session.execute(delete(EmbeddingRow))
    assert audited(works).counts.documents_refilled == 1
    assert works.stage(document, StageName.EMBED).state == "queued"
    assert works.stage(document, StageName.INDEX).state == "waiting"
    assert works.status(document).state is DocumentState.QUEUED
    works.work()
    assert _visible(works) == whole
    assert_agreed(works)


def test_rights_that_the_index_does_not_have_are_written_again(works: Works) -> None:
    document = works.upload(story("tea"), allow=["user:bob"])
    works.work()
    works.index.set_access(TENANT, document, allow=["user:ann"], deny=[])
    assert works.search("tea", user="bob") == []
    assert healed(audited(works).counts) == (0, 0, 1, 0)
    works.work()
    assert works.search("tea", user="bob")
    assert_agreed(works)


def test_a_version_that_is_being_indexed_is_no_stray(works: Works) -> None:
    works.upload(story("tea"))
    works.work()
    document = works.upload(story("coffee"))  # a new version
    works.work_until(StageName.INDEX)

    class Dying(MemoryIndex):
        def flush(self) -> None:
            raise Killed

    dying = Dying()
    assert isinstance(works.index, MemoryIndex)
    dying._stored = works.index._stored
    works.index = dying
    works.loop = works.new_loop()
    with pytest.raises(Killed):
        works.loop.run_once()
    written = len(_points(works, document))
    works.index = MemoryIndex()
    works.index._stored = dying._stored

    assert healed(audited(works).counts) == (0, 0, 0, 0)
    assert len(_points(works, document)) == written
    works.lapse()
    works.loop = works.new_loop()
    works.work()
    assert_agreed(works)


def test_what_is_about_to_go_is_left_to_its_task(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work()
    works.delete(document)
    assert healed(audited(works).counts) == (0, 0, 0, 0)
    works.work()
    assert not works.points()


def test_a_document_deleted_after_the_audit_began_is_not_put_back(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work()
    works.index.delete_chunks(TENANT, document, [_points(works, document)[0].chunk])
    with works.database.transaction() as session:
        request_audit(session)
    one = auditor(works)
    assert one.step()
    works.delete(document)
    while one.step():
        pass
    works.work()
    assert not works.points()
    assert works.status(document).state is DocumentState.DELETED


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_an_audit_that_is_killed_is_made_by_another_and_counted_once(works: Works, steps: int) -> None:
    document = works.upload(story("tea"))
    works.work()
    stray = replace(_points(works, document)[0], document=DocumentId(uuid4()), chunk=ChunkId(uuid4()))
    works.index.delete_chunks(TENANT, document, [_points(works, document)[1].chunk])
    works.index.upsert([stray])
    with works.database.transaction() as session:
        asked = request_audit(session)
    dead = auditor(works, "dead")
    for _ in range(steps):
        assert dead.step()
    if steps:
        assert not auditor(works, "waiting").step()  # It is held.
        works.lapse_audits()
    heir = auditor(works, "heir")
    while heir.step():
        works.step()
    with works.database.reading() as session:
        found = get_audit(session, asked.id)
    assert found is not None
    assert healed(found.counts) == (1, 1, 0, 0)
    while dead.step():  # It stood still, and goes on: it finds nothing, and nothing it says counts.
        pass
    works.work()
    assert_agreed(works)
    with works.database.reading() as session:
        assert [one.counts for one in list_audits(session)] == [found.counts]


def test_an_index_that_does_not_answer_puts_the_audit_off(works: Works, logged: Logged) -> None:
    document = works.upload(story("tea"))
    works.work()

    class Away(MemoryIndex):
        def count(self, tenant: TenantId, document: DocumentId, version: VersionId) -> int:
            raise IndexUnavailable(f"away: {tenant} {document} {version}")

    whole, works.index = works.index, Away()
    assert isinstance(whole, MemoryIndex)
    works.index._stored = whole._stored
    with works.database.transaction() as session:
        asked = request_audit(session)
    away = auditor(works)
    while away.step():
        pass
    assert "audit_postponed" in {event["event"] for event in logged}
    with works.database.reading() as session:
        found = get_audit(session, asked.id)
    assert found is not None
    assert found.finished_at is None
    works.index = whole
    assert not auditor(works).step()  # Not before its time.
    works.lapse_audits()
    later = auditor(works)
    while later.step():
        pass
    with works.database.reading() as session:
        assert [one.finished_at is not None for one in list_audits(session)] == [True]
    assert works.status(document).state is DocumentState.SEARCHABLE


def test_files_that_are_missing_are_told_by_document(works: Works) -> None:
    document = works.upload(story("tea"))
    works.upload(story("coffee"), "b.txt")
    works.work()
    blob = works.stage(document, StageName.PARSE).input_hash
    assert blob is not None
    assert works.blobs.delete(TENANT, blob)
    found = audited(works)
    assert healed(found.counts) == (0, 0, 0, 1)
    (missing,) = found.missing
    assert (missing["tenant"], missing["document"], missing["kind"]) == (TENANT, str(document), "original")


@pytest.mark.slow
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_after_any_damage_both_agree_and_nothing_that_was_visible_is_lost(
    sqlite_template: Path, logged: Logged, data: st.DataObject
) -> None:
    assert logged is not None
    with tempfile.TemporaryDirectory() as name:
        database = opened_database(sqlite_template, Path(name) / "db")
        works = Works(database, Path(name))
        ids = [
            works.upload(story(topic, 3), f"{topic}.txt", allow=["user:bob"]) for topic in ("tea", "coffee", "cocoa")
        ]
        works.work()
        works.upload(story("tea", 2) + "\n\nA new version of the tea.", "tea.txt", allow=["user:bob"])
        works.work()
        whole = _visible(works)
        damages = Damages(works, ids).by_name()
        for damage in data.draw(st.lists(st.sampled_from(sorted(damages)), min_size=1, max_size=4)):
            damages[damage]()
        deleted = {ids[1]} if works.status(ids[1]).state is DocumentState.DELETED else set()
        left = _visible(works)

        def not_less() -> None:
            assert left <= _visible(works)
            if data.draw(st.booleans()):  # Live work between two steps of the audit.
                works.step()

        audited(works, between=not_less)
        works.work()
        audited(works)  # What was in motion during the first is settled now.
        works.work()
        assert_agreed(works)
        kept = {chunk for chunk, row in works.chunks().items() if chunk in whole}
        assert _visible(works) >= (kept if not deleted else left)
        if not deleted:
            assert _visible(works) == whole
        assert {hit.chunk.document for hit in works.search("cocoa", user="bob")} >= {ids[2]} - deleted
        works.close()
        database.close()


@dataclass
class Damages:
    """What may happen to an index, and to the catalogue behind its back."""

    works: Works
    ids: list[DocumentId]

    def by_name(self) -> dict[str, Callable[[], None]]:
        return {
            "lose a document": lambda: self.works.index.delete(TENANT, self.ids[0]),
            "lose a point": self.lose_a_point,
            "lose everything": self.lose_everything,
            "lose vectors": self.lose_vectors,
            "stray of no document": lambda: self.stray(document=DocumentId(uuid4())),
            "stray of no version": lambda: self.stray(version=VersionId(uuid4())),
            "stray of no chunk": self.stray,
            "stray of no tenant": lambda: self.stray(tenant=TenantId("gone")),
            "misplaced": self.misplace,
            "stale rights": lambda: self.works.index.set_access(
                TENANT, self.ids[2], allow=["user:eve"], deny=["user:bob"]
            ),
            "change rights": self.change_rights,
            "delete": lambda: self.works.delete(self.ids[1]),
        }

    def stray(self, **changes: object) -> None:
        some = [point for document in self.ids for point in _points(self.works, document)]
        if some:
            stray = replace(some[0], chunk=ChunkId(uuid4()), **changes)  # type: ignore[arg-type]  # any field of it
            self.works.index.upsert([stray])

    def lose_a_point(self) -> None:
        for point in _points(self.works, self.ids[2])[:1]:
            self.works.index.delete_chunks(TENANT, self.ids[2], [point.chunk])

    def lose_everything(self) -> None:
        for one in self.ids:
            self.works.index.delete(TENANT, one)

    def lose_vectors(self) -> None:
        with self.works.database.transaction() as session:
            session.execute(delete(EmbeddingRow))

    def change_rights(self) -> None:
        with self.works.database.transaction() as session:
            access.change_document_access(session, TENANT, self.ids[2], allow=["group:late"], deny=[])

    def misplace(self) -> None:
        for point in _points(self.works, self.ids[0])[:1]:
            self.works.index.upsert([replace(point, version=VersionId(uuid4()))])
