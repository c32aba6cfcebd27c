import pytest

from core.db import answers, conversations, signs, stages
from core.db.tables import AnswerRow, TenantRow
from core.db.tenants import add_tenant
from core.domain import StageName
from core.errors import Unavailable
from core.ids import DEFAULT_TENANT
from core.jobs import ENOUGH_MESSAGES
from ingestion.reconciling import ABANDONED_SECONDS, end_abandoned_answers, reconcile
from tests.ingestion.works import TENANT, Works, story


def _rung(works: Works, *, waiting: int = 0) -> list[str]:
    rung: list[str] = []
    assert reconcile(works.database, ring=rung.append, waiting=lambda _: waiting) == rung
    return rung


def test_every_queue_with_work_that_is_due_is_rung_and_no_other(works: Works) -> None:
    assert _rung(works) == []
    works.upload(story("tea"))
    assert _rung(works) == ["parse"]
    works.work_until(StageName.EMBED)
    assert _rung(works) == ["embed"]
    works.work_until(StageName.INDEX)
    assert _rung(works) == ["index"]
    works.work()
    assert _rung(works) == []


def test_what_is_worked_on_is_left_alone_and_what_its_worker_lost_is_not(works: Works) -> None:
    works.upload(story("tea"))
    with works.database.transaction() as session:
        stages.claim(session, [StageName.PARSE], owner="slow", limit=1, lease_seconds=100.0)
    assert _rung(works) == []
    works.upload(story("coffee"), "b.txt")
    with works.database.transaction() as session:
        stages.claim(session, [StageName.PARSE], owner="dead", limit=1, lease_seconds=0.0)
    assert _rung(works) == ["parse"]


def test_messages_do_not_pile_up_while_nobody_takes_them(works: Works) -> None:
    works.upload(story("tea"))
    assert _rung(works, waiting=ENOUGH_MESSAGES - 1) == ["parse"]
    assert _rung(works, waiting=ENOUGH_MESSAGES) == []


def test_each_round_is_noted_and_one_that_the_broker_broke_off_is_not(works: Works) -> None:
    def age() -> float | None:
        with works.database.reading() as session:
            return signs.age_seconds(session, signs.RECONCILED)

    with works.database.transaction() as session:
        if session.get(TenantRow, DEFAULT_TENANT) is None:
            add_tenant(session, DEFAULT_TENANT)
    works.upload(story("tea"))

    def away(_: str) -> int:
        raise Unavailable("no broker")

    with pytest.raises(Unavailable):
        reconcile(works.database, ring=lambda _: None, waiting=away)
    assert age() is None
    _rung(works)
    assert age() is not None


def test_a_deleted_document_rings_for_its_points(works: Works) -> None:
    document = works.upload(story("tea"))
    works.work()
    works.delete(document)
    assert _rung(works) == ["index"]


def test_an_answer_that_its_process_left_behind_is_ended_and_a_running_one_is_not(works: Works) -> None:
    with works.database.transaction() as session:
        conversation = conversations.create_conversation(session, TENANT, owner="user:ann", question="?")
        old, new = (
            answers.start_answer(
                session, TENANT, owner="user:ann", conversation=conversation, question="?", model="scripted"
            )
            for _ in range(2)
        )
        row = session.get(AnswerRow, (TENANT, old))
        assert row is not None
        row.created_at -= round((ABANDONED_SECONDS + 1) * 1_000_000)
    assert end_abandoned_answers(works.database) == 1
    with works.database.reading() as session:
        assert answers.get_answer(session, TENANT, owner="user:ann", answer=old).state == "error"
        assert answers.get_answer(session, TENANT, owner="user:ann", answer=new).state == "running"
