"""What an earlier stage has stored is gone: it is made anew, and never for ever."""

import pytest
from sqlalchemy import delete, update

from core.db import documents
from core.db.comparing import being_refilled
from core.db.redoing import MOST_REDONE
from core.db.tables import EmbeddingRow, StageRow
from core.domain import DocumentState, StageName
from core.ids import DocumentId
from ingestion.endings import MOST_ATTEMPTS
from tests.ingestion.audits import assert_agreed, audited
from tests.ingestion.works import TENANT, Works, story


def _forget_vectors(works: Works) -> None:
    with works.database.transaction() as session:
        session.execute(delete(EmbeddingRow))


def _fail(works: Works, name: StageName) -> None:
    with works.database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.name == name.value).values(state="failed", reason="internal"))


def test_a_replayed_index_stage_whose_vectors_are_lost_has_them_made_again(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work_until(StageName.INDEX)
    _fail(works, StageName.INDEX)
    _forget_vectors(works)
    with works.database.transaction() as session:
        documents.retry(session, TENANT, document)
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert_agreed(works)


@pytest.mark.slow
def test_a_chunk_stage_whose_parse_result_is_lost_has_it_made_again(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work_until(StageName.CHUNK)
    parsed = works.stage(document, StageName.CHUNK).input_hash
    assert parsed is not None
    assert works.blobs.delete(TENANT, parsed)
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert works.parser.parsed == ["a.txt", "a.txt"]
    assert works.blobs.has(TENANT, parsed)


def test_a_chunk_stage_is_not_put_back_when_the_original_is_lost_too(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work_until(StageName.CHUNK)
    for blob in list(works.blobs.list(TENANT)):
        assert works.blobs.delete(TENANT, blob.hash)
    works.work()
    assert works.stage(document, StageName.PARSE).state == "done"
    assert works.stage(document, StageName.CHUNK).reason is not None


@pytest.mark.slow
def test_vectors_that_are_lost_again_and_again_end_as_a_failure(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work_until(StageName.INDEX)
    for _ in range(MOST_ATTEMPTS):
        _forget_vectors(works)
        works.loop.run_once()
        works.pipeline.run_embed()
        works.hurry()
    assert works.stage(document, StageName.INDEX).state == "failed"
    assert len(works.embedder.calls) == 1 + MOST_REDONE
    with works.database.transaction() as session:
        documents.retry(session, TENANT, document)
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE


def test_a_document_deleted_before_its_input_is_made_again_stays_deleted(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work_until(StageName.INDEX)
    _forget_vectors(works)
    works.delete(document)
    works.work()
    assert works.status(document).state is DocumentState.DELETED
    assert not works.points()


def _refilled_and_stuck(works: Works) -> DocumentId:
    """A document that lost its points and its vectors, and that the embedder then failed on for good."""
    document = works.upload(story("tea"))
    works.upload(story("coffee"), "b.txt")  # or the whole index would be lost
    works.work()
    works.index.delete(TENANT, document)
    _forget_vectors(works)
    audited(works)
    with works.database.reading() as session:
        assert being_refilled(session) == 1
    with works.database.transaction() as session:
        stage = works.stage(document, StageName.EMBED)
        session.execute(
            update(StageRow).where(StageRow.id == stage.id).values(state="failed", reason="embedder_failed")
        )
    return document


def test_a_refill_that_failed_for_good_is_no_longer_being_refilled(works: Works) -> None:
    document = _refilled_and_stuck(works)
    with works.database.reading() as session:
        assert being_refilled(session) == 0
    assert works.status(document).state is DocumentState.FAILED


def test_an_audit_tries_a_refill_that_failed_for_good_again(works: Works) -> None:
    document = _refilled_and_stuck(works)
    assert audited(works).counts.documents_refilled == 1
    with works.database.reading() as session:
        assert being_refilled(session) == 1
    works.work()
    assert works.status(document).state is DocumentState.SEARCHABLE
    assert_agreed(works)
    with works.database.reading() as session:
        assert being_refilled(session) == 0
