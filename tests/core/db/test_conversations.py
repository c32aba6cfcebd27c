import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.db import answers, conversations
from core.db.base import db_now
from core.db.session import Database
from core.db.tables import AnswerEventRow, AnswerRow, ConversationRow, TenantRow, UsageRow
from core.domain import Principal
from core.errors import Conflict
from core.ids import AnswerId, TenantId

TENANT, OTHER = TenantId("default"), TenantId("other")
ALICE = "user:alice"


def test_conversations_come_the_last_spoken_in_first_under_a_short_title(database: Database) -> None:
    with database.transaction() as session:
        session.execute(insert(TenantRow).values(id=TENANT, created_at=db_now()))
        older = conversations.create_conversation(
            session, TENANT, owner=ALICE, question="An old\nquestion " + "x" * 300
        )
    with database.transaction() as session:
        newer = conversations.create_conversation(session, TENANT, owner=ALICE, question="A new question")
    with database.transaction() as session:
        answers.start_answer(session, TENANT, owner=ALICE, conversation=older, question="Again?", model="scripted")
    with database.reading() as session:
        found = conversations.list_conversations(session, TENANT, owner=ALICE, limit=10)
    assert [conversation.id for conversation in found] == [older, newer]
    assert found[0].title.startswith("An old question x")
    assert len(found[0].title) == 120


def test_the_owner_is_the_user_or_exactly_the_impersonated_principals() -> None:
    def owner(user: str | None, *closure: str) -> str:
        return conversations.owner_of(Principal(tenant=TENANT, closure=frozenset(closure), user=user))

    assert owner("alice", "user:alice", "group:eng", "*") == ALICE
    assert owner(None, "group:ops", "group:eng", "*") == "as:group:eng,group:ops"
    assert owner(None, *(f"group:{'x' * 50}{n}" for n in range(20))).startswith("sha256:")
    assert owner("alice") != ALICE  # suspended: nothing of the user's


def test_who_is_forgotten_leaves_nothing_but_numbers_and_others_keep_everything(database: Database) -> None:
    with database.transaction() as session:
        for tenant in (TENANT, OTHER):
            session.execute(insert(TenantRow).values(id=tenant, created_at=db_now()))
    kept = [(TENANT, "user:bobby"), (TENANT, "as:user:bob,user:eve"), (OTHER, "user:bob")]
    with database.transaction() as session:
        for tenant, owner in [(TENANT, "user:bob"), (TENANT, "nobody:bob"), *kept]:
            _converse(session, tenant, owner)
    with database.transaction() as session:
        conversations.forget_users(session, TENANT, ["bob", "unknown"])
    with database.reading() as session:
        for row in (ConversationRow, AnswerRow):
            assert sorted(tuple(found) for found in session.execute(select(row.tenant, row.owner))) == sorted(kept)
        assert len(session.scalars(select(AnswerEventRow.seq)).all()) == len(kept)
        usage = session.execute(select(UsageRow.tenant, UsageRow.owner, UsageRow.prompt_tokens))
        left = [(*one, 7) for one in kept] + [(TENANT, conversations.REMOVED, 7)] * 2
        assert sorted(tuple(row) for row in usage) == sorted(left)


def test_a_running_answer_of_who_is_forgotten_takes_nothing_more(database: Database) -> None:
    with database.transaction() as session:
        session.execute(insert(TenantRow).values(id=TENANT, created_at=db_now()))
        answer = _converse(session, TENANT, "user:bob")
    with database.transaction() as session:
        conversations.forget_users(session, TENANT, ["bob"])
    with pytest.raises(Conflict), database.transaction() as session:
        answers.append_events(session, TENANT, answer, [("delta", {"text": "more"})])
    with database.transaction() as session:
        assert not answers.finish_answer(session, TENANT, answer, state="done", text="more")


def _converse(session: Session, tenant: TenantId, owner: str) -> AnswerId:
    """Have the owner ask something that is still being answered, and has cost something."""
    spoken_in = conversations.create_conversation(session, tenant, owner=owner, question="Private?")
    answer = answers.start_answer(
        session, tenant, owner=owner, conversation=spoken_in, question="Private?", model="scripted"
    )
    answers.append_events(session, tenant, answer, [("delta", {"text": "So it is"})])
    answers.record_usage(session, tenant, owner=owner, model="scripted", prompt_tokens=7, completion_tokens=3)
    return answer
