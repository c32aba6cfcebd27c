from uuid import UUID

import pytest
from sqlalchemy import insert, select

from core.db import answers, conversations
from core.db.base import db_now
from core.db.session import Database
from core.db.tables import TenantRow, UsageRow
from core.errors import Conflict, NotFound
from core.ids import AnswerId, ConversationId, DocumentId, TenantId, VersionId, uuid7

TENANT, OTHER = TenantId("default"), TenantId("other")
ALICE = "user:alice"


@pytest.fixture
def db(database: Database) -> Database:
    with database.transaction() as session:
        for tenant in (TENANT, OTHER):
            session.execute(insert(TenantRow).values(id=tenant, created_at=db_now()))
    return database


def started(db: Database, question: str = "How much?") -> tuple[ConversationId, AnswerId]:
    with db.transaction() as session:
        conversation = conversations.create_conversation(session, TENANT, owner=ALICE, question=question)
        answer = answers.start_answer(
            session, TENANT, owner=ALICE, conversation=conversation, question=question, model="scripted"
        )
    return conversation, answer


def test_events_are_numbered_without_gaps_however_they_are_appended(db: Database) -> None:
    _, answer = started(db)
    for size in (1, 3, 0, 2):
        with db.transaction() as session:
            answers.append_events(session, TENANT, answer, [("delta", {"text": str(n)}) for n in range(size)])
    with db.reading() as session:
        assert [event.seq for event in answers.events_after(session, TENANT, answer, 0)] == [1, 2, 3, 4, 5, 6]
        assert [event.data["text"] for event in answers.events_after(session, TENANT, answer, 4)] == ["0", "1"]


def test_nothing_is_appended_to_a_finished_answer(db: Database) -> None:
    _, answer = started(db)
    document = DocumentId(uuid7())
    with db.transaction() as session:
        assert answers.finish_answer(session, TENANT, answer, state="done", text="So much.", cited=[document, document])
    with db.transaction() as session:
        assert not answers.finish_answer(session, TENANT, answer, state="error", text=None)
        with pytest.raises(Conflict):
            answers.append_events(session, TENANT, answer, [("delta", {})])
    with db.reading() as session:
        found = answers.get_answer(session, TENANT, owner=ALICE, answer=answer)
    assert (found.state, found.text, found.cited) == ("done", "So much.", (document,))
    assert found.finished_at is not None


def test_nobody_else_is_told_that_it_exists(db: Database) -> None:
    conversation, answer = started(db)
    for tenant, owner in ((TENANT, "user:bob"), (OTHER, ALICE)):
        with db.reading() as session:
            assert conversations.list_conversations(session, tenant, owner=owner, limit=10) == []
            with pytest.raises(NotFound):
                conversations.get_conversation(session, tenant, owner=owner, conversation=conversation)
            with pytest.raises(NotFound):
                answers.get_answer(session, tenant, owner=owner, answer=answer)
            with pytest.raises(NotFound):
                answers.answers_of(session, tenant, owner=owner, conversation=conversation)
        with pytest.raises(NotFound), db.transaction() as session:
            answers.start_answer(session, tenant, owner=owner, conversation=conversation, question="?", model="m")


def test_a_conversation_lists_its_answers_in_order_and_limits_to_the_newest(db: Database) -> None:
    conversation, first = started(db)
    with db.transaction() as session:
        second = answers.start_answer(
            session, TENANT, owner=ALICE, conversation=conversation, question="And then?", model="scripted"
        )
    with db.reading() as session:
        both = answers.answers_of(session, TENANT, owner=ALICE, conversation=conversation)
        last = answers.answers_of(session, TENANT, owner=ALICE, conversation=conversation, limit=1)
    assert [answer.id for answer in both] == [first, second]
    assert [answer.id for answer in last] == [second]


def test_what_a_crash_left_running_is_ended_with_an_event(db: Database) -> None:
    _, running = started(db)
    _, finished = started(db)
    with db.transaction() as session:
        answers.append_events(session, TENANT, running, [("delta", {"text": "a"})])
        answers.finish_answer(session, TENANT, finished, state="done", text="b")
    with db.transaction() as session:
        assert answers.end_interrupted(session, ("error", {"code": "interrupted"})) == 1
    with db.reading() as session:
        assert answers.get_answer(session, TENANT, owner=ALICE, answer=running).state == "error"
        assert answers.get_answer(session, TENANT, owner=ALICE, answer=finished).state == "done"
        assert [event.type for event in answers.events_after(session, TENANT, running, 0)] == ["delta", "error"]


def test_events_of_one_type_come_by_answer(db: Database) -> None:
    _, one = started(db)
    _, other = started(db)
    with db.transaction() as session:
        answers.append_events(session, TENANT, one, [("delta", {}), ("done", {"answer": "a"})])
        answers.append_events(session, TENANT, other, [("delta", {})])
    with db.reading() as session:
        found = answers.events_of_type(session, TENANT, [one, other], "done")
    assert {answer: [event.data for event in events] for answer, events in found.items()} == {one: [{"answer": "a"}]}


def test_usage_is_noted(db: Database) -> None:
    with db.transaction() as session:
        answers.record_usage(session, TENANT, owner=ALICE, model="m", prompt_tokens=7, completion_tokens=3)
    with db.reading() as session:
        row = session.scalars(select(UsageRow)).one()
        assert (row.owner, row.model, row.prompt_tokens, row.completion_tokens) == (ALICE, "m", 7, 3)


def test_an_unknown_version_has_no_parse_result(db: Database) -> None:
    with db.reading() as session:
        assert answers.parsed_hash(session, TENANT, VersionId(UUID(int=1))) is None
