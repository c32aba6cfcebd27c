"""What the edges ask of the catalogue besides."""

from uuid import uuid4

import pytest

from core.db import answers, audit, conversations, documents, lookups
from core.db.directory import add_tenant
from core.db.documents import Rights, Upload
from core.db.index_tasks import queue_task
from core.db.session import Database
from core.domain import DocumentState
from core.errors import NotFound
from core.ids import ConversationId, DocumentId, TenantId, VersionId

TENANT = TenantId("acme")
OTHER = TenantId("other")


@pytest.fixture
def document(database: Database) -> DocumentId:
    upload = Upload(source="wiki", name="a.txt", blob_hash="0" * 64, size=1, uploader="user:u")
    rights = Rights(see=lambda _: True, write=lambda _: True)
    with database.transaction() as session:
        add_tenant(session, TENANT)
        add_tenant(session, OTHER)
        return documents.accept(session, TENANT, upload, rights=rights).document


def test_a_source_is_found_by_its_name_in_its_own_tenant_alone(database: Database, document: DocumentId) -> None:
    with database.reading() as session:
        source = lookups.find_source(session, TENANT, "wiki")
        assert source == documents.get(session, TENANT, document).source_id
        assert lookups.source_names(session, TENANT, {source, uuid4()}) == {source: "wiki"}
        assert lookups.source_names(session, OTHER, {source}) == {}
        with pytest.raises(NotFound):
            lookups.find_source(session, OTHER, "wiki")


def test_a_version_that_nobody_reads_yet_has_no_files_to_show(database: Database, document: DocumentId) -> None:
    with database.reading() as session:
        version = documents.get(session, TENANT, document).newest_version
        assert version is not None
        for wanted in (None, version, VersionId(uuid4())):
            with pytest.raises(NotFound):
                lookups.version_files(session, TENANT, document, wanted)


def test_documents_and_tasks_are_counted_over_all_tenants(database: Database, document: DocumentId) -> None:
    with database.transaction() as session:
        assert lookups.task_backlog(session).count == 0
        queue_task(session, TENANT, "purge_document", document)
        assert lookups.task_backlog(session).count == 1
        counts = lookups.document_counts(session)
    assert counts == dict.fromkeys(DocumentState, 0) | {DocumentState.QUEUED: 1}


def test_who_deleted_a_document_is_known(database: Database, document: DocumentId) -> None:
    with database.transaction() as session:
        assert lookups.deleted_by(session, TENANT, document) is None
        documents.delete(session, TENANT, document, "user:u")
        assert lookups.deleted_by(session, TENANT, document) == "user:u"
        assert audit.records(session, OTHER, limit=9) == []


def test_a_conversation_is_deleted_by_its_owner_alone(database: Database, document: DocumentId) -> None:
    assert document
    with database.transaction() as session:
        conversation = conversations.create_conversation(session, TENANT, owner="user:u", question="Why?")
        answers.start_answer(
            session, TENANT, owner="user:u", conversation=conversation, question="Why?", model="scripted"
        )
    for tenant, owner, wanted in (
        (TENANT, "user:v", conversation),
        (OTHER, "user:u", conversation),
        (TENANT, "user:u", ConversationId(uuid4())),
    ):
        with pytest.raises(NotFound), database.transaction() as session:
            lookups.delete_conversation(session, tenant, owner=owner, conversation=wanted)
    with database.transaction() as session:
        lookups.delete_conversation(session, TENANT, owner="user:u", conversation=conversation)
        assert conversations.list_conversations(session, TENANT, owner="user:u", limit=9) == []
