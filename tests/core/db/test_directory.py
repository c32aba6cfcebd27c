import pytest
from sqlalchemy import event, insert, select
from sqlalchemy.orm import Session

from core.access import OWNER
from core.db import conversations, directory
from core.db.session import Database
from core.db.tables import ConversationRow, GroupRow, MembershipRow
from core.domain import Principal
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import TenantId
from tests.core.db.seeding import (
    OTHER,
    TENANT,
    add_tenants,
)


@pytest.fixture
def catalogue(database: Database) -> Database:
    add_tenants(database)
    return database


def closure(session: Session, user: str, tenant: TenantId = TENANT) -> frozenset[str]:
    return directory.principal(session, tenant, user, role="reader").closure


def load(database: Database, data: object) -> directory.ImportSummary:
    with database.transaction() as session:
        return directory.import_directory(session, TENANT, directory.parse_directory(data))


def test_users_are_added_suspended_resumed_and_removed(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, " bob ")
        directory.add_group(session, TENANT, "eng")
        directory.add_member(session, TENANT, "eng", "user:bob")
        with pytest.raises(Conflict):
            directory.add_user(session, TENANT, "bob")
        assert directory.list_users(session, TENANT) == [directory.User(name="bob", suspended=False, groups=("eng",))]
        assert directory.set_suspended(session, TENANT, "bob", suspended=True).suspended
        assert closure(session, "bob") == frozenset()
        directory.set_suspended(session, TENANT, "bob", suspended=False)
        assert closure(session, "bob") == {"user:bob", "group:eng", "*"}
        directory.remove_user(session, TENANT, "bob")
        assert directory.list_users(session, TENANT) == []
        assert directory.list_groups(session, TENANT) == [directory.Group(name="eng", members=())]


def titles(session: Session, user: str) -> list[str]:
    """Return what the user of this name has asked, as it is listed for them."""
    who = directory.principal(session, TENANT, user, role="reader")
    found = conversations.list_conversations(session, TENANT, owner=conversations.owner_of(who), limit=9)
    return [conversation.title for conversation in found]


def ask(session: Session, user: str, question: str) -> None:
    conversations.create_conversation(session, TENANT, owner=f"user:{user}", question=question)


def test_a_later_user_of_the_name_finds_nothing_that_the_removed_one_asked(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        for user in ("bob", "eve"):
            directory.add_user(session, TENANT, user)
            ask(session, user, f"What earns {user}?")
        conversations.create_conversation(session, OTHER, owner="user:bob", question="Elsewhere?")
        directory.remove_user(session, TENANT, "bob")
    with catalogue.transaction() as session:
        assert sorted(session.scalars(select(ConversationRow.title))) == ["Elsewhere?", "What earns eve?"]
        ask(session, "bob", "A question that was under way when bob was removed?")
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, "bob")
        assert titles(session, "bob") == []
        assert titles(session, "eve") == ["What earns eve?"]


def test_a_suspended_user_keeps_what_they_asked(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, "bob")
        ask(session, "bob", "What earns eve?")
        directory.set_suspended(session, TENANT, "bob", suspended=True)
        assert titles(session, "bob") == []
        directory.set_suspended(session, TENANT, "bob", suspended=False)
        assert titles(session, "bob") == ["What earns eve?"]


def test_what_is_unknown_is_not_found(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_group(session, TENANT, "g")
        with pytest.raises(NotFound):
            directory.remove_user(session, TENANT, "x")
        with pytest.raises(NotFound):
            directory.set_suspended(session, TENANT, "x", suspended=True)
        with pytest.raises(NotFound):
            directory.remove_group(session, TENANT, "x")
        with pytest.raises(NotFound):
            directory.add_member(session, TENANT, "x", "user:u")
        with pytest.raises(NotFound):
            directory.remove_member(session, TENANT, "g", "user:u")
        with pytest.raises(NotFound):
            directory.add_user(session, TenantId("nobody"), "u")
        with pytest.raises(InvalidInput):
            directory.add_member(session, TENANT, "g", "*")


def test_the_owner_cannot_be_removed_or_suspended(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, OWNER)
        with pytest.raises(Conflict):
            directory.remove_user(session, TENANT, OWNER)
        with pytest.raises(Conflict):
            directory.set_suspended(session, TENANT, OWNER, suspended=True)
    with pytest.raises(Conflict):
        load(catalogue, {"suspended": [OWNER]})


def test_adding_a_group_or_member_twice_changes_nothing(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        for _ in range(2):
            directory.add_group(session, TENANT, "g")
            directory.add_member(session, TENANT, "g", "group:h")
        assert directory.list_groups(session, TENANT) == [directory.Group(name="g", members=("group:h",))]


def test_a_closure_holds_every_group_at_any_depth_and_cycles_end(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, "u")
        for group, member in (("a", "user:u"), ("b", "group:a"), ("c", "group:b"), ("a", "group:c"), ("d", "user:v")):
            directory.add_group(session, TENANT, group)
            directory.add_member(session, TENANT, group, member)
        assert closure(session, "u") == {"user:u", "group:a", "group:b", "group:c", "*"}
        directory.remove_member(session, TENANT, "b", "group:a")
        assert closure(session, "u") == {"user:u", "group:a", "*"}
        directory.remove_group(session, TENANT, "a")
        assert closure(session, "u") == {"user:u", "*"}


def test_users_of_one_name_in_two_tenants_are_two_users(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, "u")
        directory.add_group(session, OTHER, "g")
        directory.add_member(session, OTHER, "g", "user:u")
        assert closure(session, "u") == {"user:u", "*"}
        assert closure(session, "u", OTHER) == frozenset()


def test_a_closure_of_thousands_of_nested_groups_takes_two_statements_and_reads_no_other_members(
    catalogue: Database,
) -> None:
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, "u")
        groups = [f"g{n}" for n in range(1_500)]
        session.execute(insert(GroupRow), [{"tenant": TENANT, "name": name, "created_at": 0} for name in groups])
        nested = [("g0", "user:u"), *((f"g{n + 1}", f"group:g{n}") for n in range(1_499))]
        crowd = [("g0", f"user:u{n}") for n in range(3_000)]
        session.execute(
            insert(MembershipRow), [{"tenant": TENANT, "group_name": g, "member": m} for g, m in (*nested, *crowd)]
        )
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    with catalogue.reading() as session:
        session.connection()
        event.listen(catalogue.engine, "before_cursor_execute", note)
        found = closure(session, "u")
        event.remove(catalogue.engine, "before_cursor_execute", note)
    assert len(found) == 1_502
    assert len(statements) == 2


def test_somebody_impersonated_is_exactly_what_was_asked_for_and_its_groups(catalogue: Database) -> None:
    load(catalogue, {"users": {"u": ["a"]}, "groups": {"b": {"subgroups": ["a"]}}, "suspended": ["s"]})

    def impersonated(*names: str) -> Principal:
        with catalogue.reading() as session:
            return directory.impersonated(session, TENANT, names)

    assert impersonated("user:u").closure == {"user:u", "group:a", "group:b", "*"}
    assert impersonated("group:a").closure == {"group:a", "group:b", "*"}
    assert impersonated("user:who", "group:new").closure == {"user:who", "group:new", "*"}
    assert impersonated("user:u", "user:s").closure == frozenset()
    assert impersonated().closure == frozenset()
    assert impersonated("user:u", "group:x").user == "u"
    assert impersonated("user:u", "user:v").user is None
    assert impersonated("user:u").scopes == frozenset()
    with pytest.raises(InvalidInput):
        impersonated("u")
