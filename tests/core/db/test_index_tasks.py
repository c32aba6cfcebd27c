"""Every change that an index has to make is made, at least once, the latest state last."""

from sqlalchemy import select

from core.db import access, documents
from core.db.index_tasks import (
    claim_tasks,
    finish_task,
    has_due_task,
    open_tasks,
    postpone_task,
    queue_task,
    reclaim_tasks,
)
from core.db.session import Database
from core.db.tables import IndexTaskRow
from tests.core.db.scenario import TENANT, Story


def test_a_claimed_task_is_hidden_until_its_time_is_over(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload().document
    with database.transaction() as session:
        queue_task(session, TENANT, "access", document)
    with database.transaction() as session:
        assert has_due_task(session)
        (first,) = claim_tasks(session, limit=9, lease_seconds=0.0)
        (again,) = claim_tasks(session, limit=9, lease_seconds=60.0)
        assert (first.id, first.attempt, again.attempt) == (again.id, 1, 2)
        assert claim_tasks(session, limit=9, lease_seconds=60.0) == []
        assert not has_due_task(session)
        assert open_tasks(session, TENANT, [document]) == 1
        assert finish_task(session, again)
        assert finish_task(session, first)
        assert open_tasks(session, TENANT, [document]) == 0


def test_a_postponed_task_comes_back(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload().document
    with database.transaction() as session:
        queue_task(session, TENANT, "access", document)
        (task,) = claim_tasks(session, limit=9, lease_seconds=60.0)
        postpone_task(session, task, 3_600.0, "the index does not answer")
        assert claim_tasks(session, limit=9, lease_seconds=60.0) == []
        postpone_task(session, task, 0.0)
        (again,) = claim_tasks(session, limit=9, lease_seconds=60.0)
        assert again.attempt == 2


def test_what_a_dead_process_had_claimed_or_postponed_is_due_when_it_is_reclaimed(database: Database) -> None:
    story = Story.begin(database)
    claimed, postponed = story.upload("claimed").document, story.upload("postponed").document
    with database.transaction() as session:
        queue_task(session, TENANT, "access", postponed)
        (task,) = claim_tasks(session, limit=9, lease_seconds=60.0)
        postpone_task(session, task, 300.0)
        queue_task(session, TENANT, "access", claimed)
        assert len(claim_tasks(session, limit=9, lease_seconds=60.0)) == 1
    with database.transaction() as session:
        assert not has_due_task(session)
        assert reclaim_tasks(session) == 2
        assert {task.document for task in claim_tasks(session, limit=9, lease_seconds=60.0)} == {claimed, postponed}


def test_reclaiming_leaves_what_was_never_claimed(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload().document
    with database.transaction() as session:
        queue_task(session, TENANT, "access", document)
        assert reclaim_tasks(session) == 0
        assert has_due_task(session)


def test_access_that_changed_while_it_was_written_is_written_again(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload().document
    with database.transaction() as session:
        access.change_document_access(session, TENANT, document, allow=["user:bob"])
    with database.transaction() as session:
        (task,) = claim_tasks(session, limit=9, lease_seconds=60.0)
        access.change_document_access(session, TENANT, document, deny=["user:bob"])
        assert not finish_task(session, task)
        tasks = claim_tasks(session, limit=9, lease_seconds=60.0)
        assert len(tasks) == 2
        assert all(finish_task(session, one) for one in tasks)


def test_access_comes_before_purges_and_is_dropped_for_what_is_deleted(database: Database) -> None:
    story = Story.begin(database)
    doomed = story.upload("doomed")
    kept = story.upload("kept")
    with database.transaction() as session:
        queue_task(session, TENANT, "access", doomed.document)
        documents.delete(session, TENANT, doomed.document, "user:ann")
        queue_task(session, TENANT, "access", kept.document)
        tasks = claim_tasks(session, limit=1, lease_seconds=60.0)
        tasks += claim_tasks(session, limit=9, lease_seconds=60.0)
    assert [(task.kind, task.document) for task in tasks] == [
        ("access", kept.document),
        ("purge_document", doomed.document),
    ]


def test_the_points_of_the_current_version_are_never_purged(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload()
    story.finish_everything()
    with database.transaction() as session:
        queue_task(session, TENANT, "purge_version", accepted.document, version=accepted.version)
        assert claim_tasks(session, limit=9, lease_seconds=60.0) == []
        assert open_tasks(session, TENANT, [accepted.document]) == 0


def test_what_is_done_leaves_no_row(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload().document
    with database.transaction() as session:
        queue_task(session, TENANT, "access", document)
        queue_task(session, TENANT, "purge_version", document)
        (task,) = claim_tasks(session, limit=9, lease_seconds=60.0, kinds=["access"])
        assert finish_task(session, task)
        assert session.scalars(select(IndexTaskRow.kind)).all() == ["purge_version"]
