"""The queue of record: who gets which stage, once, and whose turn it is."""

import threading

from sqlalchemy import update

from core.db import stages
from core.db.session import Database
from core.db.tables import StageRow
from core.domain import DocumentState, StageName
from tests.core.db.scenario import OTHER, TENANT, Story

PARSE = StageName.PARSE


def test_a_claim_tells_the_worker_what_it_needs_to_know(database: Database) -> None:
    story = Story.begin(database)
    accepted = story.upload("folder/a.txt")
    (claimed,) = story.claim()
    assert (claimed.tenant, claimed.document, claimed.version) == (TENANT, accepted.document, accepted.version)
    assert (claimed.name, claimed.fence, claimed.attempt) == (PARSE, 1, 1)
    assert claimed.input_hash == claimed.blob_hash
    assert claimed.document_name == "folder/a.txt"
    assert story.status(accepted.document).state is DocumentState.LEASED


def test_a_leased_stage_is_nobody_elses_until_the_lease_lapses(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (lapsing,) = story.claim(lease=0.0)
    (taken,) = story.claim(lease=60.0)
    assert (taken.id, taken.fence, taken.attempt) == (lapsing.id, 2, 2)
    assert story.claim() == []
    with database.reading() as session:
        assert not stages.has_claimable(session, [PARSE])
        assert stages.has_open(session, [PARSE])


def test_the_oldest_document_comes_first_with_all_its_stages(database: Database) -> None:
    story = Story.begin(database)
    first = story.upload("first")
    second = story.upload("second")
    (parse,) = story.claim(limit=1)
    assert parse.document == first.document
    story.do(parse)
    assert [(stage.document, stage.name) for stage in story.claim()] == [
        (first.document, StageName.CHUNK),
        (second.document, PARSE),
    ]


def test_nobody_waits_behind_another_tenants_archive(database: Database) -> None:
    story = Story.begin(database)
    for number in range(20):
        story.upload(f"archive/{number}")
    single = story.upload("single", tenant=OTHER)
    claimed = story.claim(limit=4)
    assert len(claimed) == 4
    assert single.document in {stage.document for stage in claimed[:2]}


def test_only_the_named_stages_and_indexes_are_claimed(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    assert story.claim(StageName.EMBED, StageName.INDEX) == []
    for name in (PARSE, StageName.CHUNK, StageName.EMBED):
        (claimed,) = story.claim(name)
        story.do(claimed)
    with database.transaction() as session:
        nothing = stages.claim(
            session,
            [StageName.INDEX],
            owner="w",
            limit=9,
            lease_seconds=9,
            index_ids=["another"],  # type: ignore[list-item]  # a plain name will do
        )
    assert nothing == []
    assert len(story.claim(StageName.INDEX)) == 1


def test_two_workers_never_get_the_same_stage(database: Database) -> None:
    story = Story.begin(database)
    for number in range(40):
        story.upload(f"{number}")
    claimed: list[stages.ClaimedStage] = []
    lock = threading.Lock()

    def work() -> None:
        while some := story.claim(limit=3):
            with lock:
                claimed.extend(some)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(claimed) == len({stage.id for stage in claimed}) == 40


def test_the_backlog_tells_what_is_open_and_for_how_long(database: Database) -> None:
    story = Story.begin(database)
    for name in "abc":
        story.upload(name)
    story.claim(limit=1)
    with database.reading() as session:
        backlog = stages.backlog(session)
    assert [(entry.name, entry.state, entry.count) for entry in backlog] == [(PARSE, "leased", 1), (PARSE, "queued", 2)]
    assert all(0 <= entry.oldest_seconds < 60 for entry in backlog)


def test_what_failed_often_is_claimed_apart_from_the_rest(database: Database) -> None:
    story = Story.begin(database)
    suspect = story.upload("suspect")
    for _ in range(stages.SUSPECT_AFTER):
        story.claim(lease=0.0)
    other = story.upload("other")

    def claim(*, suspects: bool) -> list[stages.ClaimedStage]:
        with database.transaction() as session:
            return stages.claim(session, [PARSE], owner="w", limit=9, lease_seconds=9, suspects=suspects)

    assert [stage.document for stage in claim(suspects=False)] == [other.document]
    with database.reading() as session:
        assert stages.has_claimable(session, [PARSE], suspects=True)
        assert not stages.has_claimable(session, [PARSE], suspects=False)
    assert [stage.document for stage in claim(suspects=True)] == [suspect.document]


def test_waiting_for_a_part_that_is_away_is_no_attempt(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (claimed,) = story.claim()
    with database.transaction() as session:
        stages.retry_later(session, claimed, counted=False)
        assert not stages.has_claimable(session, [PARSE])
    (claimed,) = _claim_again(story, claimed)
    assert claimed.attempt == 1


def _claim_again(story: Story, claimed: stages.ClaimedStage) -> list[stages.ClaimedStage]:
    with story.database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.id == claimed.id).values(ready_at=0))
    return story.claim()
