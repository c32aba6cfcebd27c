"""A queue that nobody takes anything from is found out, and one that has only just got something is not."""

import re

import pytest
from sqlalchemy import delete, text, update

from core.db import stages
from core.db.clock import SECOND
from core.db.index_tasks import claim_tasks, finish_task, queue_task
from core.db.queues import queues
from core.db.session import Database
from core.db.tables import IndexTaskRow, StageRow, TurnRow
from core.db.untaken import HEAD
from core.db.verdicts import UNTAKEN_SECONDS, Verdict
from core.domain import Reason, StageName
from tests.core.db.scenario import TENANT, Story
from tests.core.db.test_queues import shift, view
from tests.core.db.test_turns import asked, queue_many, rows_read

PARSE, CHUNK, EMBED, INDEX = StageName

LONG = 600.0


def later(database: Database, seconds: float = LONG) -> None:
    """Let so much time pass, for stages and for the signs that workers leave."""
    shift(database, created_at=seconds, ready_at=seconds, started_at=seconds, finished_at=seconds)
    shift(database, progressed_at=seconds, lease_until=seconds)
    with database.transaction() as session:
        session.execute(update(TurnRow).values(served_at=TurnRow.served_at - round(seconds * SECOND)))


def do_until(story: Story, name: StageName) -> None:
    """Do everything before the stages of this name."""
    for one in list(StageName)[: list(StageName).index(name)]:
        for claimed in story.claim(one):
            story.do(claimed)


def test_a_queue_that_never_had_a_worker_is_dead_after_a_minute_and_not_before(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    later(database, UNTAKEN_SECONDS - 20)
    assert view(database, "parse").verdict is Verdict.WAITING
    later(database, 40)
    seen = view(database, "parse")
    assert (seen.verdict, seen.ready, seen.leased, seen.lapsed) == (Verdict.DEAD, 1, 0, 0)
    assert "nobody has taken any for" in seen.detail
    story.claim(PARSE)
    assert view(database, "parse").verdict is Verdict.WORKING


@pytest.mark.parametrize("name", [EMBED, INDEX])
def test_a_stage_of_an_old_document_that_has_just_become_ready_is_not_told_to_be_dead(
    database: Database, name: StageName
) -> None:
    story = Story.begin(database)
    story.upload()
    shift(database, created_at=LONG)  # It waited that long to be read, and is as old as its document ever after.
    do_until(story, name)
    seen = view(database, name.value)
    assert (seen.verdict, seen.ready) == (Verdict.WAITING, 1)
    assert seen.oldest_seconds >= LONG
    later(database)
    assert view(database, name.value).verdict is Verdict.DEAD


def test_what_comes_in_all_the_time_does_not_hide_that_nothing_is_taken(database: Database) -> None:
    story = Story.begin(database)
    story.upload("first.txt")
    do_until(story, EMBED)
    later(database)
    for number in range(3):
        story.upload(f"{number}")
        do_until(story, EMBED)
    assert view(database, "parse").verdict is Verdict.IDLE
    assert view(database, "embed").verdict is Verdict.DEAD


def test_more_old_documents_than_are_looked_at_do_not_hide_it_for_long(database: Database) -> None:
    story = Story.begin(database)
    for number in range(HEAD + 1):
        story.upload(f"{number}")
    do_until(story, EMBED)
    later(database)
    assert view(database, "embed").verdict is Verdict.DEAD


@pytest.mark.parametrize("ended", ["claimed", "done", "failed", "put off", "given back"])
def test_whoever_took_something_a_moment_ago_is_there(database: Database, ended: str) -> None:
    story = Story.begin(database)
    for number in range(2):
        story.upload(f"{number}")
    later(database)
    (claimed,) = story.claim(PARSE, limit=1)
    with database.transaction() as session:
        if ended == "failed":
            stages.fail(session, claimed, Reason.CORRUPT)
        elif ended == "put off":
            stages.retry_later(session, claimed, 300.0, Reason.PARSER_OOM)
        elif ended == "given back":
            stages.release(session, [claimed])
    if ended == "done":
        story.do(claimed)
    assert view(database, "parse").verdict in {Verdict.WORKING, Verdict.WAITING}
    shift(database, lease_until=3_600) if ended == "claimed" else later(database)
    assert view(database, "parse").verdict is Verdict.DEAD


def test_who_had_a_document_in_hand_for_long_and_failed_it_just_now_is_there(database: Database) -> None:
    story = Story.begin(database)
    for number in range(2):
        story.upload(f"{number}")
    (claimed,) = story.claim(PARSE, limit=1)
    later(database)
    with database.transaction() as session:
        stages.fail(session, claimed, Reason.CORRUPT)
    assert view(database, "parse").verdict is Verdict.WAITING


def test_turns_that_are_lost_make_nothing_dead_that_has_only_just_come(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    with database.transaction() as session:
        session.execute(delete(TurnRow))
    assert view(database, "parse").verdict is Verdict.WAITING


def test_nothing_is_told_to_be_dead_before_whoever_looks_has_been_up_for_a_minute(database: Database) -> None:
    Story.begin(database).upload()
    later(database)
    with database.reading() as session:
        for up, verdict in ((5.0, Verdict.WAITING), (UNTAKEN_SECONDS + 1, Verdict.DEAD)):
            assert queues(session, watched_seconds=up)[0].verdict is verdict


def test_changes_of_the_index_that_nobody_makes_are_found_out_and_a_long_list_of_them_is_not_mistaken(
    database: Database,
) -> None:
    story = Story.begin(database)
    document = story.upload().document
    with database.transaction() as session:
        for _ in range(3):
            queue_task(session, TENANT, "purge_document", document)
        session.execute(update(IndexTaskRow).values(ready_at=IndexTaskRow.ready_at - round(LONG * SECOND)))
    assert view(database, "index").verdict is Verdict.DEAD
    with database.transaction() as session:
        (task,) = claim_tasks(session, limit=1, lease_seconds=60)
        assert finish_task(session, task)
    seen = view(database, "index")
    assert (seen.verdict, seen.ready, seen.leased) == (Verdict.WAITING, 2, 0)


@pytest.mark.slow
def test_postgresql_reads_what_is_open_and_a_fixed_number_of_rows(postgres_database: Database) -> None:
    database = postgres_database
    Story.begin(database)
    queue_many(database, TENANT, 500, done=20_000)
    with database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.state == "done").values(finished_at=1))
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    with asked(database) as statements:
        assert view(database, "parse").verdict is Verdict.DEAD
    for statement, parameters in statements:
        with database.engine.connect() as connection:
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", parameters))
        assert not re.search(r"Seq Scan on stages", plan), plan
        read = rows_read(plan)
        assert max(read) <= 500, plan
