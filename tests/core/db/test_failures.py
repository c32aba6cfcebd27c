"""One answer to which failures count: in the counts, in the dead letters, and in the state of a document."""

import pytest
from sqlalchemy import select, update

from core.db import deadletters
from core.db.deadletters import ALL
from core.db.queues import queues
from core.db.releases import ensure_index
from core.db.session import Database
from core.db.tables import DocumentRow, StageRow
from core.domain import DocumentState, StageName
from core.ids import DocumentId, IndexId, VersionId, uuid7
from tests.core.db.scenario import TENANT, Story

OTHER_INDEX = IndexId("index-2")


def _failed(database: Database) -> tuple[int, set[DocumentId]]:
    """Return how many failures the queues count, and the dead letters."""
    with database.reading() as session:
        counted = sum(one.count for view in queues(session) for one in view.failures)
        return counted, set(deadletters._next_ids(session, TENANT, ALL, None, 100))


def _set(database: Database, document: DocumentId, name: StageName, state: str, index: str | None = None) -> None:
    with database.transaction() as session:
        newest = select(DocumentRow.newest_version).where(DocumentRow.id == document).scalar_subquery()
        stage = update(StageRow).where(StageRow.version_id == newest, StageRow.name == name.value)
        if index is not None:
            stage = stage.where(StageRow.index_id == index)
        session.execute(
            stage.values(state=state, reason="internal" if state == "failed" else None).execution_options(
                synchronize_session=False
            )
        )


def _add_other_index(database: Database, document: DocumentId, version: VersionId, state: str) -> None:
    with database.transaction() as session:
        ensure_index(session, OTHER_INDEX, {})
        session.add(
            StageRow(
                tenant=TENANT,
                id=uuid7(),
                document_id=document,
                version_id=version,
                name="index",
                state=state,
                index_id=OTHER_INDEX,
                ready_at=1,
                created_at=1,
                reason="index_failed",
            )
        )


def test_a_refill_that_failed_counts_although_the_version_is_current(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload("a").document
    story.finish_everything()
    assert _failed(database) == (0, set())
    _set(database, document, StageName.INDEX, "failed")
    assert _failed(database) == (1, {document})
    assert story.status(document).state is DocumentState.FAILED
    _set(database, document, StageName.INDEX, "waiting")
    _set(database, document, StageName.EMBED, "failed")
    assert _failed(database) == (1, {document})
    assert story.status(document).state is DocumentState.FAILED


@pytest.mark.parametrize("finished", [True, False])
def test_what_failed_in_an_index_that_does_not_serve_does_not_count(database: Database, *, finished: bool) -> None:
    story = Story.begin(database)
    accepted = story.upload("a")
    if finished:
        story.finish_everything()
    _add_other_index(database, accepted.document, accepted.version, "failed")
    assert _failed(database) == (0, set())
    expected = DocumentState.SEARCHABLE if finished else DocumentState.QUEUED
    assert story.status(accepted.document).state is expected


def test_a_first_version_that_failed_counts_at_every_stage(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload("a").document
    for name in StageName:
        _set(database, document, name, "failed")
        assert _failed(database) == (1, {document})
        assert story.status(document).state is DocumentState.FAILED
        _set(database, document, name, "waiting")
