from uuid import uuid4

import pytest

from core.db import directory, documents
from core.db.access import change_document_access
from core.db.session import Database
from core.domain import Chunk, Principal
from core.ids import ChunkId, DocumentId, TenantId
from retrieval.catalogue import DatabaseCatalogue
from tests.core.db.scenario import OTHER, TENANT, Story

ANN = Principal(tenant=TENANT, closure=frozenset({"user:ann", "*"}))
BOB = Principal(tenant=TENANT, closure=frozenset({"user:bob", "*"}))


@pytest.fixture
def story(sqlite_database: Database) -> Story:
    return Story.begin(sqlite_database)


@pytest.fixture
def catalogue(story: Story) -> DatabaseCatalogue:
    return DatabaseCatalogue(story.database)


def chunks_of(story: Story, document: DocumentId, tenant: TenantId = TENANT) -> list[Chunk]:
    from core.db.chunks import chunks_of as read

    with story.database.reading() as session:
        version = documents.get(session, tenant, document).newest_version
        assert version is not None
        return [chunk for chunk, _ in read(session, tenant, version)]


def test_current_version_is_told_to_those_who_may_read(story: Story, catalogue: DatabaseCatalogue) -> None:
    mine = story.upload("mine.txt", uploader="user:ann")
    shared = story.upload("shared.txt", uploader="user:ann", allow=["*"])
    story.finish_everything()
    asked = [mine.document, shared.document, DocumentId(uuid4())]
    assert catalogue.current_versions(asked, principal=ANN) == {
        mine.document: mine.version,
        shared.document: shared.version,
    }
    assert catalogue.current_versions(asked, principal=BOB) == {shared.document: shared.version}


def test_denied_and_empty_closures_are_told_nothing(story: Story, catalogue: DatabaseCatalogue) -> None:
    shared = story.upload(allow=["*"])
    story.finish_everything()
    with story.database.transaction() as session:
        change_document_access(session, TENANT, shared.document, deny=["user:bob"])
    ids = [chunk.id for chunk in chunks_of(story, shared.document)]
    nobody = Principal(tenant=TENANT, closure=frozenset())
    assert catalogue.current_versions([shared.document], principal=BOB) == {}
    assert catalogue.current_versions([shared.document], principal=nobody) == {}
    assert catalogue.chunks(ids, principal=nobody) == {}


def test_other_tenants_know_nothing_of_it(story: Story, catalogue: DatabaseCatalogue) -> None:
    shared = story.upload(allow=["*"])
    story.finish_everything()
    stranger = Principal(tenant=OTHER, closure=frozenset({"*", "user:ann"}))
    ids = [chunk.id for chunk in chunks_of(story, shared.document)]
    assert catalogue.current_versions([shared.document], principal=stranger) == {}
    assert catalogue.chunks(ids, principal=stranger) == {}


def test_version_on_its_way_in_is_not_current_yet(story: Story, catalogue: DatabaseCatalogue) -> None:
    first = story.upload("a.txt", "one", allow=["*"])
    assert catalogue.current_versions([first.document], principal=ANN) == {}
    story.finish_everything()
    second = story.upload("a.txt", "two", allow=["*"])
    assert second.version != first.version
    assert catalogue.current_versions([first.document], principal=ANN) == {first.document: first.version}
    story.finish_everything()
    assert catalogue.current_versions([first.document], principal=ANN) == {first.document: second.version}


def test_deleted_document_is_gone_at_once(story: Story, catalogue: DatabaseCatalogue) -> None:
    shared = story.upload(allow=["*"])
    story.finish_everything()
    ids = [chunk.id for chunk in chunks_of(story, shared.document)]
    with story.database.transaction() as session:
        documents.delete(session, TENANT, shared.document, actor="user:ann")
    assert catalogue.current_versions([shared.document], principal=ANN) == {}
    assert catalogue.chunks(ids, principal=ANN) == {}


def test_chunks_come_with_name_and_title(story: Story, catalogue: DatabaseCatalogue) -> None:
    shared = story.upload("folder/a.txt", allow=["*"])
    story.finish_everything()
    stored = chunks_of(story, shared.document)
    found = catalogue.chunks([*(chunk.id for chunk in stored), ChunkId(uuid4())], principal=ANN)
    assert {chunk.id: chunk for chunk in stored} == {one: found[one].chunk for one in found}
    assert {(record.name, record.title) for record in found.values()} == {("folder/a.txt", "Title")}


def test_chunks_of_a_replaced_version_are_left_out(story: Story, catalogue: DatabaseCatalogue) -> None:
    first = story.upload("a.txt", "one", allow=["*"])
    story.finish_everything()
    old = [chunk.id for chunk in chunks_of(story, first.document)]
    story.upload("a.txt", "two", allow=["*"])
    story.finish_everything()
    new = [chunk.id for chunk in chunks_of(story, first.document)]
    assert set(catalogue.chunks([*old, *new], principal=ANN)) == set(new)


def test_thousands_of_documents_are_no_problem(story: Story, catalogue: DatabaseCatalogue) -> None:
    shared = story.upload(allow=["*"])
    story.finish_everything()
    asked = [shared.document, *(DocumentId(uuid4()) for _ in range(3_000))]
    assert catalogue.current_versions(asked, principal=ANN) == {shared.document: shared.version}


def test_suspended_user_is_told_nothing(story: Story, catalogue: DatabaseCatalogue) -> None:
    shared = story.upload(allow=["*"])
    story.finish_everything()
    with story.database.transaction() as session:
        directory.add_user(session, TENANT, "eve")
        directory.set_suspended(session, TENANT, "eve", suspended=True)
        eve = directory.principal(session, TENANT, "eve", role="reader", scopes=frozenset())
    assert catalogue.current_versions([shared.document], principal=eve) == {}
