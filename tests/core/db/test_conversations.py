from sqlalchemy import insert

from core.db import answers, conversations
from core.db.base import db_now
from core.db.session import Database
from core.db.tables import TenantRow
from core.domain import Principal
from core.ids import TenantId

TENANT = TenantId("default")
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
