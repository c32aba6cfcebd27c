"""Deletion: denied at once, purged everywhere, with a receipt; and nobody else loses anything."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, text

from core.db import answers, audit, chunks, conversations, documents, receipts
from core.db.index_tasks import claim_tasks
from core.db.purging import purge_catalogue
from core.db.session import Database
from core.db.tables import (
    AccessEntryRow,
    AnswerEventRow,
    BlobRow,
    ChunkRow,
    DocumentRow,
    EmbeddingRow,
    SourceRow,
    StageRow,
    VersionRow,
    WakeupRow,
)
from core.domain import DocumentState
from core.errors import LeaseLost, NotFound
from core.ids import AnswerId, DocumentId
from tests.core.db.scenario import MODEL, TENANT, Story, digest, unknown_document
from tests.core.db.test_turns import asked, queue_many


def _delete(story: Story, document: DocumentId) -> None:
    with story.database.transaction() as session:
        documents.delete(session, TENANT, document, "user:ann")


def _purge(story: Story, document: DocumentId) -> None:
    with story.database.transaction() as session:
        purge_catalogue(session, TENANT, document)


def _embed(story: Story, document: DocumentId) -> None:
    with story.database.transaction() as session:
        version = documents.get(session, TENANT, document).newest_version
        assert version is not None
        hashes = [embedded for _, embedded in chunks.chunks_of(session, TENANT, version)]
        vector = np.ones(4, dtype=np.float32)
        chunks.put_embeddings(session, TENANT, MODEL, dict.fromkeys(hashes, vector))
        chunks.put_embeddings(session, TENANT, "second model", dict.fromkeys(hashes, vector))


def test_deletion_denies_at_once_and_takes_the_work_from_its_workers(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    (claimed,) = story.claim()
    _delete(story, first.document)
    _delete(story, first.document)
    with pytest.raises(LeaseLost):
        story.do(claimed)
    assert story.claim() == []
    assert story.status(first.document).state is DocumentState.DELETED
    with database.transaction() as session:
        (task,) = claim_tasks(session, limit=9, lease_seconds=9.0)
        assert (task.kind, task.document) == ("purge_document", first.document)
        with pytest.raises(NotFound):
            documents.retry(session, TENANT, first.document)
        assert [record.action for record in audit.records(session, TENANT, limit=9)] == ["document.delete"]
        receipt = receipts.receipt(session, TENANT, first.document)
    assert {store.store for store in receipt.stores} == {"catalogue", "index", "blobs", "embeddings", "answers"}
    assert all(store.confirmed_at is None for store in receipt.stores)


def _asked_of_stages(database: Database, document: DocumentId) -> Iterator[tuple[str, Any]]:
    """Yield the statements about stages of a purge, which is undone."""
    with asked(database) as found, database.transaction() as session:
        purge_catalogue(session, TENANT, document)
        session.rollback()
    assert found
    yield from found


def test_sqlite_finds_the_stages_of_a_purged_document_by_an_index(sqlite_database: Database) -> None:
    story = Story.begin(sqlite_database)
    accepted = story.upload()
    _delete(story, accepted.document)
    for statement, parameters in _asked_of_stages(sqlite_database, accepted.document):
        with sqlite_database.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = [row[3] for row in rows]
        assert re.match(r"SEARCH stages USING (COVERING )?INDEX \S+ \(tenant=\? AND version_id=\?", plan[0]), plan


@pytest.mark.slow
def test_postgresql_finds_the_stages_of_a_purged_document_by_an_index(postgres_database: Database) -> None:
    story = Story.begin(postgres_database)
    accepted = story.upload()
    queue_many(postgres_database, TENANT, 2_000, done=2_000)
    _delete(story, accepted.document)
    with postgres_database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    for statement, parameters in _asked_of_stages(postgres_database, accepted.document):
        with postgres_database.engine.connect() as connection:  # rolled back with the connection
            rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", parameters)
            plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan on stages" not in plan, plan
        assert all(int(count) <= 8 for count in re.findall(r"Rows Removed by Filter: (\d+)", plan)), plan


def test_members_go_with_their_container(database: Database) -> None:
    story = Story.begin(database)
    container = story.upload("a.zip")
    member = story.upload("a.zip/b.eml", content="mail", parent=container.document)
    inner = story.upload("a.zip/b.eml/c.txt", content="text", parent=member.document)
    other = story.upload("other")
    _delete(story, container.document)
    for one in (container, member, inner):
        assert story.status(one.document).state is DocumentState.DELETED
    assert story.status(other.document).state is DocumentState.QUEUED
    with database.transaction() as session:
        tasks = claim_tasks(session, limit=9, lease_seconds=9.0)
    assert {task.document for task in tasks} == {container.document, member.document, inner.document}


def test_a_purge_leaves_an_id_and_a_receipt(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload("secret/plans.txt", allow=["group:eng"])
    story.finish_everything()
    _embed(story, accepted.document)
    _delete(story, accepted.document)
    _purge(story, accepted.document)
    _purge(story, accepted.document)
    with database.transaction() as session:
        for table in (VersionRow, ChunkRow, EmbeddingRow, StageRow, AccessEntryRow, WakeupRow):
            assert session.execute(select(func.count()).select_from(table)).scalar_one() == 0, table.__tablename__
        assert session.execute(select(DocumentRow.name, DocumentRow.folder)).all() == [("", "")]
        assert session.scalars(select(BlobRow.references)).all() == [0, 0]
        assert None not in session.scalars(select(BlobRow.unreferenced_at)).all()
        receipts.confirm(session, TENANT, accepted.document, "index", 3)
        receipts.confirm(session, TENANT, accepted.document, "index", 0)
        receipt = receipts.receipt(session, TENANT, accepted.document)
    assert {store.store: store.removed for store in receipt.stores} == {
        "answers": 0,
        "blobs": 2,  # the file and its parsed text
        "catalogue": 3,
        "embeddings": 6,
        "index": 3,
    }
    unconfirmed = [store.store for store in receipt.stores if store.confirmed_at is None]
    assert unconfirmed == ["blobs"]  # Until they are collected.
    assert not receipt.complete
    status = story.status(accepted.document)
    assert (status.state, status.name, status.version) == (DocumentState.DELETED, "", None)


def test_a_purge_spares_what_others_need(database: Database) -> None:
    story = Story.begin(database)
    doomed = story.upload("a")
    kept = story.upload("b")  # The same bytes, and so the same chunk texts.
    story.finish_everything()
    for one in (doomed, kept):
        _embed(story, one.document)
    _delete(story, doomed.document)
    _purge(story, doomed.document)
    with database.reading() as session:
        assert len(chunks.chunks_of(session, TENANT, kept.version)) == 3
        assert session.execute(select(func.count()).select_from(EmbeddingRow)).scalar_one() == 6
        assert set(session.scalars(select(BlobRow.references))) == {1}
        receipt = receipts.receipt(session, TENANT, doomed.document)
    removed = {store.store: (store.removed, store.confirmed_at is not None) for store in receipt.stores}
    assert removed["embeddings"] == (0, True)
    assert removed["blobs"] == (0, True)
    assert story.status(kept.document).state is DocumentState.SEARCHABLE


def test_a_document_that_is_not_deleted_is_not_purged(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    story.finish_everything()
    _purge(story, accepted.document)
    _purge(story, unknown_document())
    assert story.status(accepted.document).state is DocumentState.SEARCHABLE
    with database.reading() as session:
        with pytest.raises(NotFound):
            receipts.receipt(session, TENANT, accepted.document)
        with pytest.raises(NotFound):
            receipts.receipt(session, TENANT, unknown_document())


def test_a_purged_documents_name_can_be_used_twice_more(database: Database) -> None:
    story = Story.begin(database)
    for _ in range(3):
        accepted = story.upload()
        assert accepted.created
        _delete(story, accepted.document)
        _purge(story, accepted.document)
    with database.reading() as session:
        assert session.execute(select(func.count()).select_from(SourceRow)).scalar_one() == 1
        assert session.scalars(select(BlobRow.hash)).all() == [digest("one")]


def _answer(story: Story, document: DocumentId, *, cited: bool, finished: bool = True) -> AnswerId:
    with story.database.transaction() as session:
        conversation = conversations.create_conversation(session, TENANT, owner="user:ann", question="?")
        answer = answers.start_answer(
            session, TENANT, owner="user:ann", conversation=conversation, question="?", model="m"
        )
        hits = [] if cited else [{"document": str(document), "name": "secret"}]
        spoken: list[tuple[str, dict[str, object]]] = [("retrieval", {"hits": hits}), ("delta", {"text": "secret"})]
        answers.append_events(session, TENANT, answer, spoken)
        if finished:
            quoted = [document] if cited else []
            answers.finish_answer(session, TENANT, answer, state="done", text="secret", cited=quoted)
    return answer


def test_answers_keep_nothing_of_a_purged_document(database: Database) -> None:
    story = Story.begin(database)
    doomed, other = story.upload("a"), story.upload("b", content="other")
    gone = [_answer(story, doomed.document, cited=cited) for cited in (True, False)]
    late = _answer(story, doomed.document, cited=False, finished=False)
    kept = _answer(story, other.document, cited=True)
    _delete(story, doomed.document)
    _purge(story, doomed.document)
    with database.transaction() as session:
        answers.finish_answer(session, TENANT, late, state="done", text="secret")
    with database.reading() as session:
        for answer in (*gone, late):
            held = answers.get_answer(session, TENANT, owner="user:ann", answer=answer)
            assert (held.text, held.cited) == (None, (doomed.document,))
        assert set(session.scalars(select(AnswerEventRow.answer_id))) == {kept}
        assert answers.get_answer(session, TENANT, owner="user:ann", answer=kept).text == "secret"
        receipt = receipts.receipt(session, TENANT, doomed.document)
    told = {store.store: (store.removed, store.confirmed_at is not None) for store in receipt.stores}
    assert told["answers"] == (2, True)
