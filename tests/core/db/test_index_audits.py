import threading
from datetime import UTC, datetime, timedelta

import pytest

from core.db import index_audits
from core.db.clock import SECOND
from core.db.index_audits import (
    Counts,
    Place,
    Progress,
    claim_audit,
    finish_audit,
    has_audit_to_begin,
    has_open_audit,
    healed_totals,
    list_audits,
    nightly_is_due,
    postpone_audit,
    reclaim_audits,
    renew_audit,
    request_audit,
    schedule_nightly,
)
from core.db.session import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEDULERS = 3
TICKS = 1_000


class Clock:
    """The database's clock, set by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moment = NOON
        monkeypatch.setattr(index_audits, "now", lambda _: int(self.moment.timestamp()) * SECOND)


@pytest.mark.slow
def test_f15_three_schedulers_make_one_audit_per_date_whatever_the_clock_does(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    failures: list[BaseException] = []

    def schedule() -> None:
        try:
            for number in range(TICKS):
                jump = timedelta(hours=(-1, 0, 1)[number % 3])
                clock.moment = NOON + jump + timedelta(hours=72 * number / TICKS)
                with sqlite_database.reading() as session:
                    due = nightly_is_due(session, 2)
                if due:
                    with sqlite_database.transaction() as session:
                        schedule_nightly(session, 2)
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=schedule) for _ in range(SCHEDULERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    with sqlite_database.reading() as session:
        days = sorted(str(one.day) for one in list_audits(session))
    assert days == ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]


def test_a_date_s_audit_is_made_by_one_of_many_and_once(database: Database) -> None:
    made: list[str] = []

    def work(owner: str) -> None:
        for _ in range(20):
            with database.transaction() as session:
                schedule_nightly(session, 0)
            with database.transaction() as session:
                claimed = claim_audit(session, owner=owner, lease_seconds=60)
            if claimed is not None:
                made.append(owner)
                with database.transaction() as session:
                    assert finish_audit(session, claimed, Progress(counts=Counts(points=1)))

    threads = [threading.Thread(target=work, args=(f"auditor-{number}",)) for number in range(SCHEDULERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        audits = list_audits(session)
    assert len(made) == len(audits)
    assert len({one.day for one in audits}) == len(audits)  # Two only when midnight came in between.
    assert len(audits) in {1, 2}


def test_before_its_hour_no_night_is_due(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    for hour, due in ((11, True), (12, True), (13, False)):
        with sqlite_database.reading() as session:
            assert nightly_is_due(session, hour) is due
    with sqlite_database.transaction() as session:
        schedule_nightly(session, 13)
        assert list_audits(session) == []
    clock.moment += timedelta(hours=1)
    with sqlite_database.transaction() as session:
        schedule_nightly(session, 13)
        schedule_nightly(session, 13)
        (found,) = list_audits(session)
    assert (found.cause, found.day) == ("nightly", "2026-03-01")


def test_an_audit_that_waits_serves_all_who_ask_and_one_that_has_begun_does_not(database: Database) -> None:
    with database.transaction() as session:
        first = request_audit(session)
        assert request_audit(session).id == first.id
        assert claim_audit(session, owner="one", lease_seconds=60) is not None
    with database.transaction() as session:
        assert request_audit(session).id != first.id


def test_only_the_holder_s_counts_are_kept(database: Database) -> None:
    with database.transaction() as session:
        request_audit(session)
        assert has_open_audit(session)
        dead = claim_audit(session, owner="dead", lease_seconds=0)
    assert dead is not None
    with database.transaction() as session:
        kept = Progress(counts=Counts(points=5, points_removed=2), place=Place(phase="points", after="p5"))
        assert renew_audit(session, dead, kept, lease_seconds=0)
    with database.transaction() as session:
        heir = claim_audit(session, owner="heir", lease_seconds=60)
    assert heir is not None
    assert heir.place == kept.place
    with database.transaction() as session:
        assert claim_audit(session, owner="third", lease_seconds=60) is None
        assert not renew_audit(session, dead, Progress(counts=Counts(points=9)), lease_seconds=60)
        assert not postpone_audit(session, dead, Progress(), 0)
        assert not finish_audit(session, dead, Progress(counts=Counts(points=9)))
        rest = Progress(counts=Counts(points=2, points_removed=1), missing=({"document": "x"},))
        assert finish_audit(session, heir, rest)
        assert not has_open_audit(session)
        (found,) = list_audits(session)
        assert healed_totals(session)["points_removed"] == 3
    assert found.counts == Counts(points=7, points_removed=3)
    assert found.missing == ({"document": "x"},)


def test_a_start_that_is_alone_takes_over_what_the_dead_held(database: Database) -> None:
    with database.transaction() as session:
        request_audit(session)
        assert claim_audit(session, owner="dead", lease_seconds=600) is not None
        reclaim_audits(session)
    with database.transaction() as session:
        assert claim_audit(session, owner="heir", lease_seconds=600) is not None


def test_what_audits_healed_never_becomes_less_however_many_are_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_audits, "KEPT", 2)
    totals: list[dict[str, int]] = []
    for number in range(6):
        with database.transaction() as session:
            request_audit(session)
            claimed = claim_audit(session, owner="one", lease_seconds=60)
            assert claimed is not None
            counts = Counts(points_removed=1, documents_refilled=number, access_rewritten=10)
            assert finish_audit(session, claimed, Progress(counts=counts))
        with database.reading() as session:
            totals.append(healed_totals(session))
            assert len(list_audits(session)) == min(number + 1, 2)
    assert [one["points_removed"] for one in totals] == [1, 2, 3, 4, 5, 6]
    assert totals[-1] == {"points_removed": 6, "documents_refilled": 15, "access_rewritten": 60}


def test_only_an_audit_that_was_not_begun_will_look_at_everything(database: Database) -> None:
    with database.transaction() as session:
        request_audit(session)
        assert has_audit_to_begin(session)
        claimed = claim_audit(session, owner="one", lease_seconds=60)
        assert claimed is not None
        assert renew_audit(session, claimed, Progress(place=Place(phase="files")), lease_seconds=60)
        assert not has_audit_to_begin(session)
        assert has_open_audit(session)
