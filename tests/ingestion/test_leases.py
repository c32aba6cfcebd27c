import time

import pytest

import ingestion.leases
from core.db import stages
from core.db.stages import ClaimedStage
from core.domain import StageName
from ingestion.leases import BEATS, LEASE_SECONDS, HeldLeases
from tests.ingestion.conftest import Logged
from tests.ingestion.works import Works, story


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion.leases, "BEATS", LEASE_SECONDS / 0.02)


def _claim(works: Works, *, seconds: float) -> ClaimedStage:
    with works.database.transaction() as session:
        (claimed,) = stages.claim(session, [StageName.PARSE], owner="worker", limit=1, lease_seconds=seconds)
    return claimed


def _lease_until(works: Works, claimed: ClaimedStage) -> int | None:
    return works.stage(claimed.document, StageName.PARSE).lease_until


def _wait_for_a_longer_lease(works: Works, claimed: ClaimedStage, than: int | None) -> None:
    deadline = time.monotonic() + 5
    while _lease_until(works, claimed) == than:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_heartbeat_leaves_room_for_several_that_are_late() -> None:
    assert BEATS > 5


def test_a_lease_in_hand_is_renewed_until_it_is_let_go(works: Works) -> None:
    works.upload(story("tea"))
    held = HeldLeases(works.database)
    claimed = _claim(works, seconds=0.01)
    first = _lease_until(works, claimed)
    held.add([claimed])
    held.start()
    try:
        _wait_for_a_longer_lease(works, claimed, first)
        with works.database.transaction() as session:
            assert stages.claim(session, [StageName.PARSE], owner="other", limit=1, lease_seconds=1) == []
        held.remove(claimed)
        time.sleep(0.05)  # A renewal that was under way has ended.
        last = _lease_until(works, claimed)
        time.sleep(0.1)
        assert _lease_until(works, claimed) == last
    finally:
        held.stop()


def test_a_lease_that_somebody_else_has_taken_over_is_left_alone(works: Works) -> None:
    works.upload(story("tea"))
    held = HeldLeases(works.database)
    lost = _claim(works, seconds=0.0)
    theirs = _claim(works, seconds=1_000.0)
    before = _lease_until(works, theirs)
    held.add([lost])
    held.start()
    time.sleep(0.1)
    held.stop()

    assert _lease_until(works, theirs) == before


def test_the_heartbeat_survives_a_database_that_does_not_answer(
    works: Works, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    works.upload(story("tea"))
    held = HeldLeases(works.database)
    claimed = _claim(works, seconds=0.01)
    first = _lease_until(works, claimed)
    held.add([claimed])
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError("no disk")

        patch.setattr(ingestion.leases, "renew", refuse)
        held.start()
        deadline = time.monotonic() + 5
        while not any(event["event"] == "heartbeat_failed" for event in logged):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    try:
        _wait_for_a_longer_lease(works, claimed, first)
    finally:
        held.stop()


def test_letting_go_of_what_is_not_held_is_no_error(works: Works) -> None:
    works.upload(story("tea"))
    HeldLeases(works.database).remove(_claim(works, seconds=1))
