import threading

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.db import access, directory, keys
from core.db.session import Database
from core.db.tables import DocumentRow, IndexTaskRow
from core.db.tenants import hold_absent
from core.errors import Conflict, InvalidInput, NotFound
from core.ids import DocumentId, TenantId
from tests.core.db.seeding import (
    OTHER,
    TENANT,
    add_document,
    add_source,
    add_tenants,
    mark_deleted,
)


@pytest.fixture
def catalogue(database: Database) -> Database:
    add_tenants(database)
    return database


def closure(session: Session, user: str, tenant: TenantId = TENANT) -> frozenset[str]:
    return directory.principal(session, tenant, user, role="reader").closure


def test_tenants_are_added_listed_and_removed_once(database: Database) -> None:
    with database.transaction() as session:
        assert directory.add_tenant(session, "acme") == "acme"
        with pytest.raises(Conflict):
            directory.add_tenant(session, "acme")
    with database.transaction() as session:
        directory.add_tenant(session, "b.c_d-1")
        assert directory.list_tenants(session) == ["acme", "b.c_d-1"]
        directory.remove_tenant(session, TenantId("acme"))
        with pytest.raises(NotFound):
            directory.remove_tenant(session, TenantId("acme"))
    with database.reading() as session:
        assert directory.list_tenants(session) == ["b.c_d-1"]


@pytest.mark.parametrize("name", ["", "..", ".a", "A", "a/b", "a\n", "a b", "x" * 65, "ä"])
def test_a_tenant_is_named_so_that_it_can_name_a_folder(sqlite_database: Database, name: str) -> None:
    with pytest.raises(InvalidInput), sqlite_database.transaction() as session:
        directory.add_tenant(session, name)


def test_a_tenant_with_documents_is_not_removed(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        document = add_document(session, add_source(session))
        add_document(session, add_source(session, "/b"), parent=document)
    with pytest.raises(Conflict, match="2 documents"), catalogue.transaction() as session:
        directory.remove_tenant(session, TENANT)
    with catalogue.transaction() as session:
        access.change_document_access(session, TENANT, document, allow=["*"])
        for each in session.execute(select(DocumentRow.id)).scalars():
            mark_deleted(session, DocumentId(each))
    with pytest.raises(Conflict, match="purged"), catalogue.transaction() as session:
        directory.remove_tenant(session, TENANT)
    with catalogue.transaction() as session:
        session.execute(delete(IndexTaskRow))
        directory.remove_tenant(session, TENANT)
        assert directory.list_tenants(session) == [OTHER]


def test_removing_a_tenant_leaves_the_others_whole(catalogue: Database) -> None:
    with catalogue.transaction() as session:
        for tenant in (TENANT, OTHER):
            directory.add_user(session, tenant, "u")
            directory.add_group(session, tenant, "g")
            directory.add_member(session, tenant, "g", "user:u")
            keys.create_key(session, tenant, user="u", role="reader")
        directory.remove_tenant(session, TENANT)
    with catalogue.reading() as session:
        assert closure(session, "u", OTHER) == {"user:u", "group:g", "*"}
        assert len(keys.list_keys(session, OTHER)) == 1
        assert closure(session, "u") == frozenset()


def test_nobody_adds_a_tenant_while_it_is_held_absent(catalogue: Database) -> None:
    acme = TenantId("acme")

    def add() -> None:
        with catalogue.transaction() as session:
            directory.add_tenant(session, acme)

    adding = threading.Thread(target=add)
    with catalogue.transaction() as session:
        assert not hold_absent(session, TENANT)
        assert hold_absent(session, acme)
        adding.start()
        adding.join(0.3)
        assert adding.is_alive()
    adding.join(30)
    with catalogue.transaction() as session:
        assert directory.list_tenants(session) == [acme, TENANT, OTHER]
        assert not hold_absent(session, acme)
    with catalogue.reading() as session:
        assert directory.list_tenants(session) == [acme, TENANT, OTHER]
