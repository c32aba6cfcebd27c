"""Leases: renewed, given back, set aside, and taken from the dead."""

import pytest

from core.db import stages
from core.db.session import Database
from core.domain import StageName
from tests.core.db.scenario import OTHER, TENANT, Story

PARSE = StageName.PARSE


def test_a_renewed_lease_does_not_lapse_and_a_lost_one_is_not_renewed(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    story.upload("b")
    first, second = story.claim(lease=0.0)
    with database.transaction() as session:
        assert stages.renew(session, [first], 60.0) == [first]
    (again,) = story.claim()
    assert again.id == second.id
    with database.transaction() as session:
        assert stages.renew(session, [first, second], 60.0) == [first]


def test_given_back_is_not_attempted(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    claimed = story.claim()
    with database.transaction() as session:
        stages.release(session, claimed)
    (again,) = story.claim()
    assert (again.fence, again.attempt) == (2, 1)
    with database.transaction() as session:
        stages.release(session, claimed)  # The old claim gives nothing back.
    assert story.claim() == []


def test_a_restart_reclaims_every_lease_and_counts_no_attempt(database: Database) -> None:
    story = Story.begin(database)
    for name in "abc":
        story.upload(name)
    claimed = story.claim(limit=2)
    with database.transaction() as session:
        assert stages.reclaim_all(session) == 2
        assert stages.renew(session, claimed, 60.0) == []
    assert {(stage.attempt, stage.fence) for stage in story.claim()} == {(1, 1), (1, 2)}


def test_what_a_dead_worker_held_is_free_at_once_and_the_attempt_counts(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    story.claim()
    with database.transaction() as session:
        assert stages.reclaim_owned(session, "somebody else") == 0
        assert stages.reclaim_owned(session, "worker") == 1
    (again,) = story.claim()
    assert (again.fence, again.attempt) == (2, 2)


def test_a_worker_that_was_told_to_end_has_attempted_nothing(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    story.claim()
    with database.transaction() as session:
        assert stages.reclaim_owned(session, "worker", counted=False) == 1
    (again,) = story.claim()
    assert (again.fence, again.attempt) == (2, 1)


def test_what_is_set_aside_waits_apart_as_old_as_it_is_and_takes_turns_of_its_own(database: Database) -> None:
    story = Story.begin(database)
    for number in range(3):
        story.upload(f"{number}.txt")
    story.upload("single.txt", tenant=OTHER)
    for stage in story.claim(PARSE):
        story.do(stage)
    claimed = _chunk_stages(database, limit=9, long=False)
    with database.transaction() as session:
        stages.set_aside(session, claimed)
        stages.set_aside(session, claimed)  # The claims hold no more: nothing is given back twice.
    assert len(claimed) == 4
    with database.reading() as session:
        assert not stages.has_claimable(session, [StageName.CHUNK], long=False)
        assert stages.has_claimable(session, [StageName.CHUNK], long=True)
        assert stages.has_claimable(session, [StageName.CHUNK])
    taken = [_chunk_stages(database, limit=1, long=True)[0] for _ in claimed]
    assert [stage.long for stage in taken] == [True] * 4
    assert {stage.attempt for stage in taken} == {1}
    assert [stage.document for stage in taken if stage.tenant == TENANT] == [
        stage.document for stage in sorted(claimed, key=lambda one: one.id) if stage.tenant == TENANT
    ]
    assert OTHER in {stage.tenant for stage in taken[:2]}


def test_a_lapsed_lease_is_claimed_by_whoever_asks_for_its_kind(database: Database) -> None:
    story = Story.begin(database)
    story.upload()
    (stage,) = story.claim(PARSE)
    story.do(stage)
    with database.transaction() as session:
        stages.set_aside(session, stages.claim(session, [StageName.CHUNK], owner="w", limit=1, lease_seconds=60.0))
        with pytest.raises(ValueError, match="lane"):
            stages.set_aside(session, [stage])
        assert stages.claim(session, [StageName.CHUNK], owner="dead", limit=1, lease_seconds=-1.0, long=True)
    assert _chunk_stages(database, limit=1, long=False) == []
    (taken,) = _chunk_stages(database, limit=1, long=True)
    assert (taken.long, taken.attempt) == (True, 2)


def _chunk_stages(database: Database, *, limit: int, long: bool) -> list[stages.ClaimedStage]:
    with database.transaction() as session:
        return stages.claim(session, [StageName.CHUNK], owner="w", limit=limit, lease_seconds=60.0, long=long)
