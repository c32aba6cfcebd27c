"""What operators are told of the queues, on real rows."""

import re
import time

import pytest
from sqlalchemy import select, text, update

from core.db import stages
from core.db.clock import SECOND, now
from core.db.documents import delete, retry
from core.db.index_tasks import claim_tasks, postpone_task, queue_task
from core.db.queues import MOST_COUNTED, Failures, QueueView, queues
from core.db.session import Database
from core.db.stages import ClaimedStage
from core.db.tables import IndexTaskRow, StageRow
from core.db.verdicts import PutOff, Verdict
from core.domain import Reason, StageName
from tests.core.db.scenario import OTHER, TENANT, Story
from tests.core.db.test_turns import asked, queue_many, rows_read

PARSE, CHUNK, EMBED, INDEX = StageName


def view(database: Database, queue: str) -> QueueView:
    with database.reading() as session:
        return {one.queue: one for one in queues(session)}[queue]


def depth(database: Database, queue: str) -> tuple[int, int, int, int]:
    """Return ready, postponed, leased, lapsed."""
    seen = view(database, queue)
    return seen.ready, seen.postponed, seen.leased, seen.lapsed


def shift(database: Database, **columns: float) -> None:
    """Move these moments of every stage so many seconds into the past."""
    with database.transaction() as session:
        for column, seconds in columns.items():
            at = getattr(StageRow, column)
            session.execute(update(StageRow).where(at.is_not(None)).values({column: at - round(seconds * SECOND)}))


def put_off(database: Database, claimed: ClaimedStage, reason: Reason, *, counted: bool) -> None:
    with database.transaction() as session:
        stages.retry_later(session, claimed, 300.0, reason, "as said", counted=counted)


def test_an_empty_installation_has_nothing_to_do(database: Database) -> None:
    Story.begin(database)
    with database.reading() as session:
        seen = queues(session)
    assert [one.queue for one in seen] == ["parse", "embed", "index"]
    for one in seen:
        assert (one.verdict, one.open, one.rate_per_minute, one.eta_seconds) == (Verdict.IDLE, 0, None, None)
        assert (one.put_off, one.failures, one.progress, one.oldest_seconds) == ((), (), None, 0.0)


def test_depth_tells_what_is_ready_put_off_in_hand_and_lapsed(database: Database) -> None:
    story = Story.begin(database)
    for number in range(5):
        story.upload(f"{number}", tenant=TENANT if number % 2 else OTHER)
    assert view(database, "parse").verdict is Verdict.WAITING
    first, second = story.claim(PARSE, limit=2)
    put_off(database, first, Reason.INTERNAL, counted=True)
    assert depth(database, "parse") == (3, 1, 1, 0)
    assert view(database, "parse").verdict is Verdict.WORKING
    with database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.id == second.id).values(lease_until=now(session) - SECOND))
    assert depth(database, "parse") == (3, 1, 0, 1)
    assert depth(database, "embed") == (0, 0, 0, 0)


def test_suspects_are_counted_with_the_others(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    story.upload("b")
    with database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.name == "parse").values(attempt=9))
    assert depth(database, "parse") == (2, 0, 0, 0)


def test_the_oldest_is_as_old_as_its_document(database: Database) -> None:
    story = Story.begin(database)
    story.upload("old")
    shift(database, created_at=500)
    story.upload("new")
    assert 500 <= view(database, "parse").oldest_seconds < 560


def test_the_rate_is_of_the_last_minutes_and_gives_the_time_that_is_left(database: Database) -> None:
    story = Story.begin(database)
    for number in range(12):
        story.upload(f"{number}")
    begun = time.monotonic()
    for claimed in story.claim(PARSE, limit=6):
        story.do(claimed)
    shift(database, finished_at=60)
    seen = view(database, "parse")
    passed = time.monotonic() - begun
    assert seen.finished == 6
    assert seen.rate_per_minute is not None
    assert 360 / (60 + passed) - 0.01 <= seen.rate_per_minute <= 6.01  # Six in a minute and what this test took.
    # Six files are still to be read and then cut, six to be cut: eighteen stages at that rate.
    assert seen.eta_seconds == pytest.approx(18 * 60 / seen.rate_per_minute)
    shift(database, finished_at=600)
    seen = view(database, "parse")
    assert (seen.finished, seen.rate_per_minute, seen.eta_seconds) == (0, None, None)


def test_a_burst_that_has_just_ended_gives_no_rate_beyond_belief(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    story.do(story.claim(PARSE)[0])
    rate = view(database, "parse").rate_per_minute
    assert rate is not None
    assert rate <= 4.0


def test_workers_that_are_gone_are_told_from_workers_that_are_slow(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    story.claim(PARSE, lease=60.0)
    shift(database, progressed_at=600)  # Nothing moves, and the lease is renewed.
    slow = view(database, "parse")
    assert (slow.verdict, slow.leased) == (Verdict.SLOW, 1)
    shift(database, lease_until=600)  # Nothing moves, and nobody renews it.
    dead = view(database, "parse")
    assert (dead.verdict, dead.lapsed) == (Verdict.DEAD, 1)
    (again,) = story.claim(PARSE)
    assert again.fence == 2
    assert view(database, "parse").verdict is Verdict.WORKING


def test_a_heartbeat_with_progress_ends_being_slow_and_one_without_does_not(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    claimed = story.claim(PARSE)
    shift(database, progressed_at=600)
    with database.transaction() as session:
        stages.renew(session, claimed, 60.0)
    assert (view(database, "parse").verdict, view(database, "parse").progress) == (Verdict.SLOW, None)
    with database.transaction() as session:
        stages.renew(session, claimed, 60.0, {claimed[0].id: 0.25})
    assert (view(database, "parse").verdict, view(database, "parse").progress) == (Verdict.WORKING, 0.25)


def test_a_part_that_refuses_makes_the_queue_slow_and_is_named(database: Database) -> None:
    story = Story.begin(database)
    for number in range(3):
        story.upload(f"{number}")
    for claimed in story.claim(PARSE):
        put_off(database, claimed, Reason.EMBEDDER_FAILED, counted=False)
    seen = view(database, "parse")
    assert seen.put_off == (PutOff(reason="embedder_failed", count=3, shared=True),)
    assert (seen.verdict, "embedder_failed" in seen.detail) == (Verdict.SLOW, True)


def test_a_document_that_fails_by_itself_makes_nothing_slow(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    put_off(database, story.claim(PARSE)[0], Reason.PARSER_OOM, counted=True)
    seen = view(database, "parse")
    assert seen.put_off == (PutOff(reason="parser_oom", count=1, shared=False),)
    assert seen.verdict is Verdict.WAITING


def test_failures_are_counted_by_stage_and_reason_until_they_are_dealt_with(database: Database) -> None:
    story = Story.begin(database)
    documents = [story.upload(f"{number}").document for number in range(4)]
    claimed = {stage.document: stage for stage in story.claim(PARSE)}
    reasons = (Reason.CORRUPT, Reason.CORRUPT, Reason.ENCRYPTED, Reason.CORRUPT)
    for document, reason in zip(documents, reasons, strict=True):
        with database.transaction() as session:
            stages.fail(session, claimed[document], reason)
    assert view(database, "parse").failures == (
        Failures(stage=PARSE, reason=Reason.CORRUPT, count=3),
        Failures(stage=PARSE, reason=Reason.ENCRYPTED, count=1),
    )
    with database.transaction() as session:
        delete(session, TENANT, documents[0], "user:ann")
        retry(session, TENANT, documents[1])
    story.upload("3", "another content")
    assert view(database, "parse").failures == (Failures(stage=PARSE, reason=Reason.ENCRYPTED, count=1),)


def test_changes_that_the_index_has_to_make_are_counted_with_its_queue(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload().document
    with database.transaction() as session:
        for _ in range(3):
            queue_task(session, TENANT, "purge_document", document)
    assert depth(database, "index") == (3, 0, 0, 0)
    with database.transaction() as session:
        first, _ = claim_tasks(session, limit=2, lease_seconds=60)
        postpone_task(session, first, 60, "IndexUnavailable")
    assert depth(database, "index") == (1, 1, 1, 0)
    with database.transaction() as session:
        session.execute(IndexTaskRow.__table__.delete())  # type: ignore[attr-defined]  # a Table, to SQLAlchemy's types only a FromClause
    assert view(database, "index").verdict is Verdict.IDLE


@pytest.mark.slow
def test_postgresql_never_reads_what_is_done_but_for_a_fixed_number_of_it(postgres_database: Database) -> None:
    database = postgres_database
    Story.begin(database)
    queue_many(database, TENANT, 500, done=20_000)
    with database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.state == "done").values(finished_at=now(session)))
        some = session.scalars(select(StageRow.id).where(StageRow.state == "queued").limit(20)).all()
        session.execute(update(StageRow).where(StageRow.id.in_(some[:10])).values(state="failed", reason="corrupt"))
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    with asked(database) as statements:
        seen = view(database, "parse")
    assert (seen.ready, seen.finished) == (490, MOST_COUNTED)
    used: set[str] = set()
    for statement, parameters in statements:
        with database.engine.connect() as connection:
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN (ANALYZE) {statement}", parameters))
        assert not re.search(r"Seq Scan on stages", plan), plan
        read = rows_read(plan)
        assert max(read) <= MOST_COUNTED, plan
        used |= set(re.findall(r"(?:using|Index Scan on) (ix_stages_\w+)", plan))
    assert used == {f"ix_stages_{name}" for name in ("queued", "suspect", "leased", "retried", "finished", "failed")}


def test_sqlite_reads_the_queues_by_their_partial_indexes(sqlite_database: Database) -> None:
    Story.begin(sqlite_database)
    queue_many(sqlite_database, TENANT, 50, done=50)
    with asked(sqlite_database) as statements:
        view(sqlite_database, "parse")
    for statement, parameters in statements:
        with sqlite_database.engine.connect() as connection:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan = [row[3] for row in rows]
        read = [step for step in plan if "stages" in step]
        assert read
        # By their keys: the stages of one version, of a document that failed or waits, and those that wait for longest.
        keyed = r"INDEX ix_stages_|tenant=\? AND id=\?|stages_\d .*tenant=\? AND version_id=\?"
        assert all(re.search(keyed, step) for step in read), plan
        if any("ix_stages_queued" in step or "ix_stages_suspect" in step for step in plan):
            assert all("COVERING INDEX" in step for step in read), plan  # Not a look into the table for each of them.
