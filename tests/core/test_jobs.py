import threading
import time

import pytest
from pydantic import SecretStr

from core.db.index_tasks import queue_task
from core.db.session import Database
from core.db.wakeups import Wakeup
from core.errors import InvalidInput, Unavailable
from core.jobs import Relay, celery_app, ring
from core.settings import Settings
from tests.core.db.scenario import TENANT, Story

POSTGRES = "postgresql+psycopg://nobody@127.0.0.1:9/none"
NOBODY_LISTENS = "redis://127.0.0.1:9/0"


def _settings(broker: str | None, database: str | None) -> Settings:
    return Settings(broker_url=SecretStr(broker) if broker else None, database_url=database)


def test_what_an_upload_announces_is_sent_once(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    sent: list[Wakeup] = []
    relay = Relay(database, sent.append)

    assert relay.run_once() == 1
    assert relay.run_once() == 0

    (wakeup,) = sent
    assert wakeup.queue == "parse"


def test_nothing_is_forgotten_while_the_broker_is_away(database: Database) -> None:
    story = Story.begin(database)
    for name in ("a", "b", "c"):
        story.upload(name)
    sent: list[Wakeup] = []

    def break_off(wakeup: Wakeup) -> None:
        if len(sent) == 2:
            raise Unavailable("The broker is away.")
        sent.append(wakeup)

    with pytest.raises(Unavailable):
        Relay(database, break_off).run_once()

    again: list[Wakeup] = []
    assert Relay(database, again.append).run_once() == 3  # Two of them a second time, which does no harm.
    assert {wakeup.stage for wakeup in again} >= {wakeup.stage for wakeup in sent}


@pytest.mark.slow
def test_a_relay_sends_by_itself_and_outlives_a_broker_that_is_away(database: Database) -> None:
    story = Story.begin(database)
    sent: list[Wakeup] = []
    failures = [Unavailable("Away.")]

    def send(wakeup: Wakeup) -> None:
        if failures:
            raise failures.pop()
        sent.append(wakeup)

    relay = Relay(database, send)
    relay.start()
    try:
        story.upload("a")
        relay.wake()
        deadline = time.monotonic() + 20
        while not sent:
            assert time.monotonic() < deadline
            assert relay.alive
            time.sleep(0.02)
    finally:
        relay.stop()
    assert not relay.alive


@pytest.mark.slow
def test_a_broker_that_is_away_is_told_soon() -> None:
    app = celery_app(_settings(NOBODY_LISTENS, POSTGRES))
    began = time.monotonic()
    with pytest.raises(Unavailable, match="it is sent again"):
        ring(app, "parse")
    assert time.monotonic() - began < 10


def test_no_message_carries_or_brings_back_more_than_a_stage() -> None:
    conf = celery_app(_settings(NOBODY_LISTENS, POSTGRES)).conf
    assert conf.accept_content == ["json"]
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert conf.task_acks_late
    assert not conf.task_reject_on_worker_lost  # A poison would go round for ever.
    assert conf.worker_prefetch_multiplier == 1
    assert set(Wakeup.__dataclass_fields__) == {"tenant", "stage", "queue"}


@pytest.mark.parametrize(
    ("broker", "database_url", "named"),
    [
        (None, POSTGRES, "FOOTNOTE_BROKER_URL"),
        (NOBODY_LISTENS, None, "FOOTNOTE_DATABASE_URL"),
        (NOBODY_LISTENS, "sqlite:///x", "FOOTNOTE_DATABASE_URL"),
    ],
)
def test_what_is_missing_for_workers_is_told(broker: str | None, database_url: str | None, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        celery_app(_settings(broker, database_url))


def test_whoever_is_woken_rings_for_what_the_index_has_to_change_and_only_then(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload("a").document
    rung: list[str] = []
    relay = Relay(database, lambda _: None, ring=lambda: rung.append("index"))
    relay.ring_for_tasks()
    assert rung == []
    with database.transaction() as session:
        queue_task(session, TENANT, "access", document)
    relay.ring_for_tasks()
    assert rung == ["index"]


@pytest.mark.slow
def test_a_change_of_access_rings_at_once_and_waits_for_no_reconciler(database: Database) -> None:
    story = Story.begin(database)
    document = story.upload("a").document
    rung = threading.Event()
    relay = Relay(database, lambda _: None, ring=rung.set)
    relay.start()
    try:
        with database.transaction() as session:
            queue_task(session, TENANT, "access", document)
        relay.wake()
        assert rung.wait(30)
    finally:
        relay.stop()
