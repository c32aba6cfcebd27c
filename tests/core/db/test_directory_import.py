import json
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from core.access import OWNER, Entry
from core.db import access, conversations, directory, keys
from core.db.session import Database
from core.db.tables import ConversationRow
from core.errors import InvalidInput, NotFound
from core.ids import TenantId
from tests.core.db.seeding import (
    OTHER,
    TENANT,
    add_document,
    add_source,
    add_tenants,
    mark_deleted,
    take_access_tasks,
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


EXAMPLE = {
    "users": {"alice": ["eng"], "bob": [], "carol": ["hr", "new"]},
    "groups": {"eng": {"members": ["bob"], "subgroups": ["ops"]}, "staff": {"subgroups": ["eng", "hr"]}, "hr": {}},
    "suspended": ["carol", "dave"],
    "folders": {"/public": {"allow": ["*"]}, "/team/hr/": {"allow": ["group:hr"], "deny": ["user:bob"]}},
    "comment": "ignored",
}


def test_an_import_unites_the_groups_of_users_and_the_members_of_groups(catalogue: Database) -> None:
    summary = load(catalogue, EXAMPLE)
    with catalogue.reading() as session:
        users = {user.name: user for user in directory.list_users(session, TENANT)}
        groups = {group.name: group.members for group in directory.list_groups(session, TENANT)}
        assert closure(session, "alice") == {"user:alice", "group:eng", "group:staff", "*"}
        assert closure(session, "bob") == {"user:bob", "group:eng", "group:staff", "*"}
        assert closure(session, "carol") == frozenset()
    assert sorted(users) == ["alice", "bob", "carol", "dave"]
    assert [name for name in sorted(users) if users[name].suspended] == ["carol", "dave"]
    assert groups == {
        "eng": ("group:ops", "user:alice", "user:bob"),
        "hr": ("user:carol",),
        "new": ("user:carol",),
        "ops": (),
        "staff": ("group:eng", "group:hr"),
    }
    assert (summary.users, summary.groups, summary.folders, summary.documents_changed) == (4, 5, 2, 0)


def test_an_import_replaces_all_but_the_owner_and_users_with_keys_and_entries_made_by_hand(
    catalogue: Database,
) -> None:
    with catalogue.transaction() as session:
        for name in (OWNER, "robot", "alice", "leaver"):
            directory.add_user(session, TENANT, name)
        directory.add_group(session, TENANT, "old")
        directory.add_member(session, TENANT, "old", "user:robot")
        directory.set_suspended(session, TENANT, "alice", suspended=True)
        keys.create_key(session, TENANT, user="robot", role="editor")
        source = add_source(session)
        document = add_document(session, source, "public/a.txt")
        access.change_folder_access(session, TENANT, source, "public", deny=["user:bob"])
        directory.add_user(session, OTHER, "leaver")
    load(catalogue, EXAMPLE)
    load(catalogue, {"users": {"alice": []}, "folders": {"public": {"allow": ["user:alice"]}}})
    with catalogue.reading() as session:
        assert [user.name for user in directory.list_users(session, TENANT)] == ["alice", OWNER, "robot"]
        assert [user.name for user in directory.list_users(session, OTHER)] == ["leaver"]
        assert directory.list_groups(session, TENANT) == []
        assert closure(session, "robot") == frozenset()  # suspended
        assert closure(session, "alice") == {"user:alice", "*"}
        held = access.entries_of(session, TENANT, document)
    assert [Entry(entry.principal, entry.effect) for entry in held.inherited] == [
        Entry("user:alice", "allow"),
        Entry("user:bob", "deny"),
    ]


def test_an_import_queues_only_documents_whose_effective_access_changed(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        source = add_source(session)
        public = add_document(session, source, "public/a.txt")
        member = add_document(session, source, "public/in.zip/b.txt", parent=public)
        add_document(session, source, "public/closed.txt", inherit=False)
        same = add_document(session, source, "public/same.txt")
        access.change_document_access(session, TENANT, same, allow=["*"])
        add_document(session, source, "elsewhere/a.txt")
        mark_deleted(session, add_document(session, source, "public/gone.txt"))
        take_access_tasks(session)
    assert load(catalogue, {"folders": {"/public": {"allow": ["*"]}}}).documents_changed == 2
    with catalogue.transaction() as session:
        assert sorted(take_access_tasks(session)) == sorted([public, member])
        assert access.entries_of(session, TENANT, public).revision == 1
    again = {"users": {"u": ["g"]}, "folders": {"public/": {"allow": ["*"]}, "/empty": {}}}
    assert load(catalogue, again).documents_changed == 0
    with catalogue.transaction() as session:
        assert take_access_tasks(session) == []
        assert access.readable(session, directory.principal(session, TENANT, "u", role="reader"), [public]) == {public}
    assert load(catalogue, {}).documents_changed == 2


def test_an_import_that_fails_changes_nothing(catalogue: Database) -> None:
    load(catalogue, EXAMPLE)
    with pytest.raises(RuntimeError), catalogue.transaction() as session:  # noqa: PT012 - the block is the subject
        directory.import_directory(session, TENANT, directory.parse_directory({}))
        raise RuntimeError
    with catalogue.reading() as session:
        assert len(directory.list_users(session, TENANT)) == 4
        assert len(directory.list_groups(session, TENANT)) == 5


def test_importing_the_same_again_writes_nothing(sqlite_database: Database) -> None:
    add_tenants(sqlite_database)
    load(sqlite_database, EXAMPLE)
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(sqlite_database.engine, "before_cursor_execute", note)
    try:
        load(sqlite_database, EXAMPLE)
    finally:
        event.remove(sqlite_database.engine, "before_cursor_execute", note)
    assert [statement for statement in statements if not statement.lstrip().startswith(("SELECT", "PRAGMA"))] == []


@pytest.mark.parametrize(
    "data",
    [
        [],
        "users",
        None,
        {"users": ["alice"]},
        {"users": {"alice": "eng"}},
        {"users": {"alice": [1]}},
        {"users": {"": []}},
        {"users": {"*": []}},
        {"users": {"a\0": []}},
        {"users": {"u" * 256: []}},
        {"groups": {"eng": ["bob"]}},
        {"groups": {"eng": {"members": {"bob": 1}}}},
        {"suspended": "carol"},
        {"folders": {"/a": ["*"]}},
        {"folders": {"/a": {"allow": "*"}}},
        {"folders": {"/a": {"allow": ["alice"]}}},
        {"folders": {"/a/../b": {"allow": ["*"]}}},
    ],
)
def test_a_directory_of_the_wrong_shape_is_refused(data: object) -> None:
    with pytest.raises(InvalidInput):
        directory.parse_directory(data)


def test_names_may_be_written_as_principals_and_folders_in_any_spelling() -> None:
    parsed = directory.parse_directory(
        {
            "users": {"user:alice": ["group:eng"]},
            "groups": {"eng": {"members": ["user:bob"]}},
            "folders": {"/a": {"allow": ["*"]}, "a/": {"deny": ["user:bob"]}},
        }
    )
    assert parsed.users == {"alice", "bob"}
    assert parsed.memberships == {("eng", "user:alice"), ("eng", "user:bob")}
    assert parsed.folders == {"a": {Entry("*", "allow"), Entry("user:bob", "deny")}}


def test_an_import_into_no_tenant_is_refused(catalogue: Database) -> None:
    with pytest.raises(NotFound), catalogue.transaction() as session:
        directory.import_directory(session, TenantId("nobody"), directory.parse_directory({}))


@pytest.mark.slow
def test_the_example_directory_lets_every_user_read_as_many_units_as_it_says(
    sqlite_database: Database, shared_data: Path
) -> None:
    folder = shared_data / "acl_scifact_dev"
    if not folder.is_dir():
        pytest.skip("acl_scifact_dev is not among the shared data")
    add_tenants(sqlite_database)
    load(sqlite_database, json.loads((folder / "principals.json").read_text()))
    documents = []
    with sqlite_database.transaction() as session:
        source = add_source(session)
        for line in (folder / "acl.jsonl").read_text().splitlines():
            unit = json.loads(line)
            name = f"{unit['folder'].strip('/')}/{unit['unit']}"
            inherit = unit.get("inherit", True)
            document = add_document(session, source, name, inherit=inherit, uploader=f"user:{uuid4()}")
            entries = [Entry(principal, "allow") for principal in unit["allow"]]
            entries += [Entry(principal, "deny") for principal in unit["deny"]]
            access.add_entries(session, TENANT, [({"document_id": document}, entry) for entry in entries])
            documents.append(document)
    with sqlite_database.reading() as session:
        for line in (folder / "readable_counts.jsonl").read_text().splitlines():
            expected = json.loads(line)
            asker = directory.impersonated(session, TENANT, [f"user:{expected['user']}"])
            assert len(access.readable(session, asker, documents)) == expected["readable_units"], expected["user"]


def test_a_user_with_a_key_that_the_file_no_longer_names_is_suspended_until_it_does(catalogue: Database) -> None:
    load(catalogue, {"users": {"alice": [], "bob": []}})
    with catalogue.transaction() as session:
        _, secret = keys.create_key(session, TENANT, user="alice", role="reader")
    assert load(catalogue, {"users": {"carol": []}}).suspended == 1
    assert load(catalogue, {"users": {"carol": []}}).suspended == 0
    with catalogue.reading() as session:
        assert keys.authenticate(session, secret) is None
        assert "bob" not in {user.name for user in directory.list_users(session, TENANT)}
    assert load(catalogue, {"users": {"alice": []}}).suspended == 0
    with catalogue.reading() as session:
        assert keys.authenticate(session, secret) is not None


def test_who_an_import_drops_loses_what_they_asked_and_who_it_names_keeps_it(catalogue: Database) -> None:
    load(catalogue, {"users": {"alice": [], "bob": [], "keyed": []}})
    with catalogue.transaction() as session:
        directory.add_user(session, TENANT, OWNER)
        keys.create_key(session, TENANT, user="keyed", role="reader")
        for user in ("alice", "bob", "keyed", OWNER):
            conversations.create_conversation(session, TENANT, owner=f"user:{user}", question="Private?")
        conversations.create_conversation(session, OTHER, owner="user:bob", question="Private?")

    def owners() -> list[str]:
        with catalogue.reading() as session:
            return sorted(session.scalars(select(ConversationRow.owner).where(ConversationRow.tenant == TENANT)))

    load(catalogue, {"users": {"alice": ["eng"], "carol": []}})
    assert owners() == ["user:alice", "user:keyed", "user:owner"]
    with catalogue.transaction() as session:  # of a question that was under way
        conversations.create_conversation(session, TENANT, owner="user:bob", question="Private?")
    load(catalogue, {"users": {"alice": [], "bob": [], "keyed": []}})
    assert owners() == ["user:alice", "user:keyed", "user:owner"]
    with catalogue.reading() as session:
        assert session.scalars(select(ConversationRow.owner).where(ConversationRow.tenant == OTHER)).all() == [
            "user:bob"
        ]
