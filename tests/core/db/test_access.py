from dataclasses import dataclass
from uuid import UUID

import pytest

from core.access import EffectiveAccess, Entry
from core.db import access
from core.db.access_facts import InheritedEntry
from core.db.session import Database
from core.domain import Principal, Role
from core.errors import InvalidInput, InvalidName, NotFound
from core.ids import DocumentId, TenantId, uuid7
from tests.core.db.seeding import (
    OTHER,
    TENANT,
    add_document,
    add_source,
    add_tenants,
    mark_deleted,
    take_access_tasks,
)


@dataclass(frozen=True)
class World:
    database: Database
    source: UUID
    document: DocumentId  # team/eng/a.txt, uploaded by user:owner

    def reads(self, *closure: str, document: DocumentId | None = None, tenant: TenantId = TENANT) -> bool:
        asked = document or self.document
        with self.database.reading() as session:
            return asked in access.readable(session, asker(*closure, tenant=tenant), [asked])

    def change(
        self,
        allow: tuple[str, ...] = (),
        deny: tuple[str, ...] = (),
        remove: tuple[str, ...] = (),
        *,
        inherit: bool | None = None,
    ) -> access.DocumentAccess:
        with self.database.transaction() as session:
            return access.change_document_access(
                session, TENANT, self.document, allow=allow, deny=deny, remove=remove, inherit=inherit
            )

    def change_folder(
        self,
        folder: str,
        allow: tuple[str, ...] = (),
        deny: tuple[str, ...] = (),
        remove: tuple[str, ...] = (),
    ) -> access.FolderAccess:
        with self.database.transaction() as session:
            return access.change_folder_access(
                session, TENANT, self.source, folder, allow=allow, deny=deny, remove=remove
            )

    def tasks(self) -> list[DocumentId]:
        with self.database.transaction() as session:
            return take_access_tasks(session)


def asker(*closure: str, role: Role = "reader", tenant: TenantId = TENANT) -> Principal:
    return Principal(tenant=tenant, closure=frozenset(closure), role=role)


@pytest.fixture
def world(database: Database) -> World:
    add_tenants(database)
    with database.transaction() as session:
        source = add_source(session)
        return World(database, source, add_document(session, source, "team/eng/a.txt"))


def test_without_any_entry_the_uploader_alone_reads(world: World) -> None:
    assert world.reads("user:owner", "*")
    assert not world.reads("user:alice", "group:owner", "*")


def test_an_allow_entry_opens_the_document_and_ends_the_uploaders_privilege(world: World) -> None:
    held = world.change(allow=("group:eng",))
    assert held.effective == EffectiveAccess(allow=frozenset({"group:eng"}), deny=frozenset())
    assert world.reads("user:alice", "group:eng", "*")
    assert not world.reads("user:owner", "*")


def test_a_deny_entry_beats_every_allow_until_it_is_removed(world: World) -> None:
    world.change(allow=("*", "user:bob"), deny=("user:bob",))
    world.change(allow=("user:bob",))
    assert not world.reads("user:bob", "*")
    assert world.reads("user:alice", "*")
    world.change(remove=("user:bob",))
    assert world.reads("user:bob", "*")


def test_a_document_inherits_from_every_folder_above_it_and_from_no_other(world: World) -> None:
    for folder in ("team", "/team/eng/", "team/eng/a.txt", "te", "other"):
        world.change_folder(folder, allow=(f"group:{folder.strip('/')}",))
    assert world.reads("group:team")
    assert world.reads("group:team/eng")
    for stranger in ("team/eng/a.txt", "te", "other"):
        assert not world.reads(f"group:{stranger}")


def test_the_root_folder_holds_for_the_whole_source_and_for_no_other_source(world: World) -> None:
    with world.database.transaction() as session:
        elsewhere = add_document(session, add_source(session, "/elsewhere"), "team/eng/a.txt")
    world.change_folder("", allow=("*",))
    assert world.reads("*")
    assert not world.reads("*", document=elsewhere)


def test_an_entry_without_a_source_holds_in_every_source_of_its_tenant(world: World) -> None:
    with world.database.transaction() as session:
        elsewhere = add_document(session, add_source(session, "/elsewhere"), "team/b.txt")
        foreign_source = add_source(session, tenant=OTHER)
        foreign = add_document(session, foreign_source, "team/b.txt", tenant=OTHER)
        access.add_entries(session, TENANT, [({"folder": "team"}, Entry("*", "allow"))], origin="directory")
    assert world.reads("*")
    assert world.reads("*", document=elsewhere)
    assert not world.reads("*", document=foreign, tenant=OTHER)


def test_a_deny_of_a_folder_above_beats_an_allow_of_the_document(world: World) -> None:
    world.change_folder("team", deny=("user:bob",))
    world.change(allow=("user:bob",))
    assert not world.reads("user:bob")


def test_without_inheritance_folder_entries_of_both_kinds_are_dropped(world: World) -> None:
    world.change_folder("team", allow=("*",), deny=("user:bob",))
    world.change(allow=("user:bob",), inherit=False)
    assert world.reads("user:bob")
    assert not world.reads("user:alice", "*")
    world.change(inherit=True)
    assert not world.reads("user:bob")


def test_a_document_of_another_tenant_is_never_readable(world: World) -> None:
    world.change(allow=("*",))
    assert not world.reads("*", "user:owner", tenant=OTHER)


def test_a_deleted_document_is_never_readable_and_has_no_effective_access(world: World) -> None:
    world.change(allow=("*",))
    with world.database.transaction() as session:
        mark_deleted(session, world.document)
        assert access.effective_of(session, TENANT, [world.document]) == {}
    assert not world.reads("*")


def test_an_empty_closure_reads_nothing_and_asks_nothing(world: World) -> None:
    world.change(allow=("*",))
    with world.database.reading() as session:
        session.connection()
        assert access.readable(session, asker(), [world.document]) == frozenset()
        assert access.visible(session, asker(), [world.document]) == frozenset()


def test_a_member_inherits_what_holds_for_its_container_and_goes_with_it(world: World) -> None:
    with world.database.transaction() as session:
        member = add_document(session, world.source, "open/in.zip/m.txt", parent=world.document)
        nested = add_document(session, world.source, "open/in.zip/n.txt", parent=member)
    world.change_folder("open", allow=("*",))  # A member's name opens no folder to it.
    world.change_folder("team", allow=("group:eng",))
    world.change(deny=("user:bob",))
    for inside in (member, nested):
        assert world.reads("group:eng", document=inside)
        assert not world.reads("group:eng", "user:bob", document=inside)
        assert not world.reads("*", document=inside)
    world.change(allow=("user:alice",), inherit=False)
    for inside in (member, nested):
        assert world.reads("user:alice", document=inside)
        assert not world.reads("group:eng", document=inside)
    with world.database.transaction() as session:
        mark_deleted(session, world.document)
    assert not world.reads("user:alice", document=nested)


def test_entries_are_shown_with_where_they_come_from(world: World) -> None:
    world.change_folder("team", allow=("group:eng",))
    world.change(deny=("user:bob",))
    with world.database.transaction() as session:
        access.add_entries(session, TENANT, [({"folder": "team/eng"}, Entry("*", "deny"))], origin="directory")
    with world.database.reading() as session:
        held = access.entries_of(session, TENANT, world.document)
        folder = access.folder_entries(session, TENANT, world.source, "/team/eng")
    from_team = InheritedEntry(principal="group:eng", effect="allow", folder="team", source=world.source)
    from_import = InheritedEntry(principal="*", effect="deny", folder="team/eng")
    assert held.own == (Entry("user:bob", "deny"),)
    assert held.inherited == (from_team, from_import)
    assert held.effective == EffectiveAccess(allow=frozenset({"group:eng"}), deny=frozenset({"user:bob", "*"}))
    assert held.inherit
    assert (folder.own, folder.inherited) == ((), (from_team, from_import))


def test_a_change_of_a_document_is_queued_for_the_indexes_in_order(world: World) -> None:
    assert world.change(allow=("*",)).revision == 1
    assert world.tasks() == [world.document]
    assert world.change(allow=("*",), remove=("user:nobody",), inherit=True).revision == 1
    assert world.tasks() == []
    assert world.change(remove=("*",)).revision == 2
    assert world.tasks() == [world.document]


def test_a_change_of_a_folder_is_queued_for_every_document_below_that_inherits(world: World) -> None:
    with world.database.transaction() as session:
        below = add_document(session, world.source, "team/b/c/d.txt")
        member = add_document(session, world.source, "x/y.txt", parent=below)
        add_document(session, world.source, "team/closed.txt", inherit=False)
        add_document(session, world.source, "teams/e.txt")
        add_document(session, world.source, "Team/e.txt")
        add_document(session, world.source, "team_/e.txt")
        mark_deleted(session, add_document(session, world.source, "team/gone.txt"))
        add_document(session, add_source(session, "/elsewhere"), "team/f.txt")
    world.change_folder("team", allow=("*",))
    assert sorted(world.tasks()) == sorted([world.document, below, member])
    world.change_folder("team", allow=("*",))
    assert world.tasks() == []


def test_a_change_of_a_container_is_queued_for_its_members(world: World) -> None:
    with world.database.transaction() as session:
        member = add_document(session, world.source, "a.zip/m.txt", parent=world.document)
    world.change(allow=("*",))
    assert sorted(world.tasks()) == sorted([world.document, member])


def test_what_does_not_exist_cannot_be_changed(world: World) -> None:
    unknown = DocumentId(uuid7())
    with world.database.transaction() as session:
        with pytest.raises(NotFound):
            access.change_document_access(session, TENANT, unknown, allow=["*"])
        with pytest.raises(NotFound):
            access.change_document_access(session, OTHER, world.document, allow=["*"])
        with pytest.raises(NotFound):
            access.change_folder_access(session, OTHER, world.source, "", allow=["*"])
        with pytest.raises(NotFound):
            access.entries_of(session, OTHER, world.document)
        with pytest.raises(NotFound):
            access.folder_entries(session, OTHER, world.source, "")


def test_what_is_no_principal_or_folder_changes_nothing(world: World) -> None:
    with pytest.raises(InvalidInput):
        world.change(allow=("*", "alice"))
    with pytest.raises(InvalidName):
        world.change_folder("../up", allow=("*",))
    assert not world.reads("*")


@pytest.mark.parametrize(
    ("role", "closure", "expected"),
    [
        ("reader", ("user:owner",), False),
        ("editor", ("user:owner",), True),  # the uploader, though no entry allows it to read
        ("editor", ("user:alice", "group:eng"), True),
        ("admin", ("user:alice", "group:eng"), True),
        ("admin", ("user:alice",), False),  # a role gives verbs, never documents
        ("admin", ("user:bob", "group:eng"), False),
        ("editor", (), False),
    ],
)
def test_who_may_write(world: World, role: Role, closure: tuple[str, ...], expected: bool) -> None:  # noqa: FBT001 - a parameter of the table above
    world.change(allow=("group:eng",), deny=("user:bob",))
    with world.database.reading() as session:
        assert access.may_write(session, asker(*closure, role=role), world.document) == expected


def test_an_uploader_who_is_denied_may_no_longer_write(world: World) -> None:
    world.change(deny=("user:owner",))
    with world.database.reading() as session:
        assert not access.may_write(session, asker("user:owner", "*", role="editor"), world.document)
        assert not access.may_write(session, asker("user:owner", "*", role="editor", tenant=OTHER), world.document)


def test_an_uploader_sees_what_became_of_its_document_without_being_allowed_to_read_it(world: World) -> None:
    world.change(allow=("group:hr",))
    with world.database.reading() as session:
        seen = [
            bool(access.visible(session, asker(*closure), [world.document]))
            for closure in (("user:owner",), ("group:hr",), ("user:alice", "*"))
        ]
    assert seen == [True, True, False]
