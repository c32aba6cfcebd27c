"""Documents: accepted means kept, once, and only by those who may."""

import threading

import pytest
from sqlalchemy import select

from core.access import Entry
from core.db import access, documents, stages
from core.db.session import Database
from core.db.tables import BlobRow, DocumentRow
from core.domain import DocumentState, Reason
from core.errors import Conflict, Forbidden, NotFound
from core.ids import DocumentId
from tests.core.db.scenario import NOTHING, OTHER, TENANT, Story, digest, unknown_document

READER = documents.Rights(see=lambda _: True, write=lambda _: False)


def _fail(story: Story, reason: Reason = Reason.CORRUPT) -> None:
    (claimed,) = story.claim()
    with story.database.transaction() as session:
        stages.fail(session, claimed, reason)


def test_an_accepted_upload_is_a_queued_document(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload("folder/sub/a.txt", allow=["group:eng", "group:eng"])
    assert accepted.created
    status = story.status(accepted.document)
    assert (status.name, status.source, status.state) == ("folder/sub/a.txt", "files", DocumentState.QUEUED)
    assert (status.version, status.searchable_version, status.parent) == (accepted.version, None, None)
    with database.reading() as session:
        document = documents.get(session, TENANT, accepted.document)
        entries = access.entries_of(session, TENANT, accepted.document)
    assert (document.folder, document.uploader, document.deleted) == ("folder/sub", "user:ann", False)
    assert (document.inherit, document.newest_version, document.current_version) == (True, accepted.version, None)
    assert entries.own == (Entry("group:eng", "allow"),)


def test_the_same_bytes_again_change_nothing(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    again = story.upload()
    assert (again.document, again.version, again.created, again.retried) == (
        first.document,
        first.version,
        False,
        False,
    )
    story.finish_everything()
    assert not story.upload().created
    assert story.status(first.document).state is DocumentState.SEARCHABLE


def test_the_same_bytes_again_retry_a_failed_document(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    _fail(story)
    again = story.upload()
    assert (again.version, again.created, again.retried) == (first.version, False, True)
    story.finish_everything()
    assert story.status(first.document).state is DocumentState.SEARCHABLE


def test_other_bytes_are_a_new_version_and_access_is_kept(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload(allow=["user:bob"])
    story.finish_everything()
    second = story.upload(content="two", uploader="user:eve", allow=["user:eve"])
    assert (second.document, second.created) == (first.document, True)
    status = story.status(first.document)
    assert status.state is DocumentState.QUEUED
    assert (status.version, status.searchable_version) == (second.version, first.version)
    with database.reading() as session:
        assert access.entries_of(session, TENANT, first.document).own == (Entry("user:bob", "allow"),)
        assert documents.get(session, TENANT, first.document).uploader == "user:ann"
    third = story.upload(content="one")  # Back to what it was is a new version, too.
    assert third.version not in {first.version, second.version}


def test_the_same_bytes_elsewhere_are_another_document(database: Database) -> None:
    story = Story.begin(database)
    ids = {
        story.upload("a").document,
        story.upload("b").document,
        story.upload("a", source="elsewhere").document,
        story.upload("a", source=None).document,
        story.upload("a", source=None).document,
        story.upload("a", tenant=OTHER).document,
    }
    assert len(ids) == 6


def test_who_may_read_but_not_write_cannot_replace(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    assert not story.upload(rights=READER).created
    with pytest.raises(Forbidden):
        story.upload(content="two", rights=READER)
    _fail(story)
    assert not story.upload(rights=READER).retried
    assert story.status(first.document).state is DocumentState.FAILED


def test_a_name_that_is_taken_tells_a_stranger_nothing_of_its_bytes(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    with pytest.raises(Conflict) as same:
        story.upload(rights=NOTHING)
    with pytest.raises(Conflict) as other:
        story.upload(content="two", rights=NOTHING)
    assert same.value.detail == other.value.detail


def test_a_deleted_documents_name_is_free_again(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    with database.transaction() as session:
        documents.delete(session, TENANT, first.document, "user:ann")
    again = story.upload()
    assert again.created
    assert again.document != first.document


def test_many_uploads_of_one_name_at_once_are_one_document(database: Database) -> None:
    story = Story.begin(database)
    accepted: list[documents.Accepted] = []
    threads = [threading.Thread(target=lambda: accepted.append(story.upload())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.document for one in accepted}) == 1
    assert sorted(one.created for one in accepted) == [False] * 5 + [True]
    with database.reading() as session:
        assert session.scalars(select(BlobRow.references)).all() == [1]


def test_every_version_counts_its_bytes_once(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    story.upload("b")
    story.upload("b", content="two")
    with database.reading() as session:
        references = {row.hash: row.references for row in session.execute(select(BlobRow.hash, BlobRow.references))}
    assert references == {digest("one"): 2, digest("two"): 1}


def test_a_failed_document_is_retried_from_the_stage_that_failed(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    story.do(story.claim()[0])
    _fail(story, Reason.INTERNAL)
    with database.transaction() as session:
        assert documents.retry(session, TENANT, accepted.document)
        assert not documents.retry(session, TENANT, accepted.document)
    (claimed,) = story.claim()
    assert (claimed.name, claimed.attempt, claimed.fence) == ("chunk", 1, 2)


def test_members_belong_to_a_container_that_exists(database: Database) -> None:
    story = Story.begin(database)
    container = story.upload("archive.zip")
    member = story.upload("archive.zip/a.txt", parent=container.document)
    assert story.status(member.document).parent == container.document
    with pytest.raises(NotFound):
        story.upload("archive.zip/b.txt", parent=unknown_document())
    with database.transaction() as session:
        documents.delete(session, TENANT, container.document, "user:ann")
    with pytest.raises(NotFound):
        story.upload("archive.zip/c.txt", parent=container.document)


def test_another_tenants_document_does_not_exist(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    with database.transaction() as session:
        assert documents.status(session, OTHER, [accepted.document]) == []
        with pytest.raises(NotFound):
            documents.get(session, OTHER, accepted.document)
        with pytest.raises(NotFound):
            documents.retry(session, OTHER, accepted.document)
        with pytest.raises(NotFound):
            documents.delete(session, OTHER, accepted.document, "user:ann")
    with pytest.raises(NotFound):
        story.upload("member", tenant=OTHER, parent=accepted.document)
    with database.reading() as session:
        rows = session.scalars(select(DocumentRow.id)).all()
    assert [DocumentId(row) for row in rows] == [accepted.document]
