"""Every change that an index has to make is made, at least once, the latest state last."""

from collections import Counter

from sqlalchemy import select

from core.db import access, documents
from core.db.index_tasks import (
    MOST_DROPPED_BATCHES,
    IndexTask,
    claim_tasks,
    finish_task,
    has_due_task,
    last_served,
    open_tasks,
    postpone_task,
    queue_task,
    reclaim_tasks,
)
from core.db.session import Database
from core.db.tables import IndexTaskRow
from core.db.tenants import add_tenant
from core.ids import TenantId
from tests.core.db.scenario import OTHER, TENANT, Story


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


def test_a_folder_of_one_tenant_holds_up_nobody_elses_right_by_more_than_a_batch(database: Database) -> None:
    story = Story.begin(database)
    many = [story.upload(f"{number}.txt").document for number in range(20)]
    one = story.upload("one.txt", tenant=OTHER).document
    with database.transaction() as session:
        for document in many:
            queue_task(session, TENANT, "access", document)
        queue_task(session, OTHER, "access", one)
    with database.transaction() as session:
        first = claim_tasks(session, limit=4, lease_seconds=60.0)
        second = claim_tasks(session, limit=4, lease_seconds=60.0)
    assert [task.document for task in first if task.tenant == OTHER] == [one]
    assert {task.tenant for task in second} == {TENANT}


def test_where_more_tenants_wait_than_a_batch_has_room_for_all_are_served_in_turn(database: Database) -> None:
    story = Story.begin(database)
    tenants = [TenantId(f"tenant-{number}") for number in range(5)]
    for tenant in tenants:
        with database.transaction() as session:
            add_tenant(session, tenant)
        document = story.upload(tenant=tenant).document
        with database.transaction() as session:
            for _ in range(4):
                queue_task(session, tenant, "access", document)
    served: list[str] = []
    last = ""
    for _ in range(5):
        with database.transaction() as session:
            tasks = claim_tasks(session, limit=2, lease_seconds=60.0, after=last)
        served += [task.tenant for task in tasks]
        last = last_served(tasks, last)
    assert Counter(served) == dict.fromkeys(tenants, 2)


def test_dropping_what_is_pointless_leaves_room_for_what_is_not(database: Database) -> None:
    story = Story.begin(database)
    gone, here = story.upload("gone").document, story.upload("here").document
    with database.transaction() as session:
        documents.delete(session, TENANT, gone, "user:ann")
        for _ in range(3):
            queue_task(session, TENANT, "access", gone)
        queue_task(session, TENANT, "access", here)
    with database.transaction() as session:
        (task,) = claim_tasks(session, limit=3, lease_seconds=60.0, kinds=["access"])
    assert task.document == here


def test_what_is_deleted_leaves_no_change_of_access_to_be_made(database: Database) -> None:
    story = Story.begin(database)
    gone, here = story.upload("gone").document, story.upload("here").document
    with database.transaction() as session:
        for document in (gone, here):
            queue_task(session, TENANT, "access", document)
        documents.delete(session, TENANT, gone, "user:ann")
    with database.reading() as session:
        rows = session.execute(select(IndexTaskRow.kind, IndexTaskRow.document_id)).all()
    assert {tuple(row) for row in rows} == {("purge_document", gone), ("access", here)}


def test_however_much_is_pointless_a_claim_ends_and_the_next_ones_do_the_rest(database: Database) -> None:
    story = Story.begin(database)
    gone, here = story.upload("gone").document, story.upload("here").document
    many = 2 * MOST_DROPPED_BATCHES + 3
    with database.transaction() as session:
        documents.delete(session, TENANT, gone, "user:ann")
        for _ in range(many):
            queue_task(session, TENANT, "access", gone)
        queue_task(session, TENANT, "access", here)
    found: list[IndexTask] = []
    for _ in range(3):
        assert found == []
        with database.transaction() as session:
            found = claim_tasks(session, limit=1, lease_seconds=60.0, kinds=["access"])
    assert [task.document for task in found] == [here]
