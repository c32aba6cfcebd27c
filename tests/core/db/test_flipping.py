"""Readers see one version, the newest that is whole, and never one that is on its way out."""

import pytest

from core.db import chunks, documents, stages
from core.db.flipping import leave_index, make_current
from core.db.index_tasks import claim_tasks, finish_task
from core.db.purging import purge_version
from core.db.releases import ensure_live_release
from core.db.session import Database
from core.db.stages import ClaimedStage
from core.domain import DocumentState, Reason, StageName
from core.errors import LeaseLost
from core.ids import IndexId, VersionId
from tests.core.db.scenario import TENANT, Story

BEFORE_INDEX = (StageName.PARSE, StageName.CHUNK, StageName.EMBED)


def _to_index(story: Story) -> list[ClaimedStage]:
    while claimed := story.claim(*BEFORE_INDEX):
        for stage in claimed:
            story.do(stage)
    return story.claim(StageName.INDEX)


def _tasks(database: Database) -> list[tuple[str, VersionId | None]]:
    with database.transaction() as session:
        return [(task.kind, task.version) for task in claim_tasks(session, limit=99, lease_seconds=0.0)]


def test_the_old_versions_points_and_chunks_go_after_the_flip_and_its_text_stays(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    story.finish_everything()
    assert _tasks(database) == []
    second = story.upload(content="two")
    (index,) = _to_index(story)
    assert story.status(first.document).searchable_version == first.version
    assert story.do(index)
    assert story.status(first.document).searchable_version == second.version
    assert _tasks(database) == [("purge_version", first.version)]
    with database.transaction() as session:
        purge_version(session, TENANT, first.version)
        purge_version(session, TENANT, first.version)
        purge_version(session, TENANT, second.version)  # The current one's chunks stay, whoever asks.
        assert chunks.count_chunks(session, TENANT, first.version) == 0
        assert chunks.count_chunks(session, TENANT, second.version) == 3
        (task,) = claim_tasks(session, limit=9, lease_seconds=0.0)
        assert finish_task(session, task)
    assert _tasks(database) == []


def test_an_older_version_that_comes_late_does_not_become_current(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    (old,) = _to_index(story)
    second = story.upload(content="two")
    (new,) = _to_index(story)
    assert story.do(new)
    with pytest.raises(LeaseLost):
        story.do(old)
    assert story.status(first.document).searchable_version == second.version
    assert _tasks(database) == [("purge_version", first.version)]


def test_an_older_version_serves_until_the_newer_one_is_there(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    (old,) = _to_index(story)
    second = story.upload(content="two")
    (new,) = _to_index(story)
    assert story.do(old)
    assert story.status(first.document).searchable_version == first.version
    assert story.do(new)
    assert story.status(first.document).searchable_version == second.version


def test_a_failed_new_version_leaves_the_old_one_searchable(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    story.finish_everything()
    second = story.upload(content="two")
    (index,) = _to_index(story)
    with database.transaction() as session:
        stages.fail(session, index, Reason.INDEX_FAILED)
    status = story.status(first.document)
    assert (status.state, status.searchable_version) == (DocumentState.FAILED, first.version)
    assert _tasks(database) == [("purge_version", second.version)]
    with database.transaction() as session:
        purge_version(session, TENANT, second.version)  # Its points go; its chunks wait for a retry.
        assert chunks.count_chunks(session, TENANT, second.version) == 3


def test_points_of_a_version_that_is_tried_again_are_not_purged(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    (index,) = _to_index(story)
    with database.transaction() as session:
        stages.fail(session, index, Reason.INDEX_FAILED)
        documents.retry(session, TENANT, accepted.document)
    assert _tasks(database) == []
    story.finish_everything()
    assert _tasks(database) == []
    assert story.status(accepted.document).state is DocumentState.SEARCHABLE


def test_a_deleted_document_is_never_made_searchable(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    (index,) = _to_index(story)
    with database.transaction() as session:
        documents.delete(session, TENANT, accepted.document, "user:ann")
    with pytest.raises(LeaseLost):
        story.do(index)
    status = story.status(accepted.document)
    assert (status.state, status.searchable_version) == (DocumentState.DELETED, None)
    with database.transaction() as session:
        assert leave_index(session, index)
    assert {kind for kind, _ in _tasks(database)} == {"purge_document"}


def test_points_written_under_a_lost_lease_go_unless_somebody_needs_them(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload()
    while claimed := story.claim(*BEFORE_INDEX):
        story.do(claimed[0])
    (lost,) = story.claim(StageName.INDEX, lease=0.0)
    (taken,) = story.claim(StageName.INDEX)
    with database.transaction() as session:
        assert not leave_index(session, lost)
    story.do(taken)
    with database.transaction() as session:
        assert not leave_index(session, lost)
    story.upload(content="two")
    (new,) = _to_index(story)
    story.do(new)
    assert _tasks(database) == [("purge_version", first.version)]
    with database.transaction() as session:
        assert leave_index(session, lost)


def test_an_index_that_does_not_serve_makes_nothing_current(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    (index,) = _to_index(story)
    with database.transaction() as session:
        documents.delete(session, TENANT, accepted.document, "user:ann")
        ensure_live_release(session, IndexId("index-2"), {"parser": "2"})
    other = story.upload("b")
    (index,) = _to_index(story)
    assert index.index_id == "index-2"
    with database.transaction() as session:
        elsewhere = ClaimedStage(
            **{name: getattr(index, name) for name in ClaimedStage.__slots__ if name != "index_id"},
            index_id=IndexId("index-3"),
        )
        assert not make_current(session, elsewhere)
    assert story.status(other.document).searchable_version is None


def test_only_an_index_stage_flips(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (parse,) = story.claim()
    with pytest.raises(ValueError, match="parse"), database.transaction() as session:
        make_current(session, parse)
