import pytest

from core.db import audit
from core.db.session import Database
from tests.core.db.seeding import OTHER, TENANT, add_tenants


def test_records_are_listed_the_newest_first_and_page_by_page(database: Database) -> None:
    add_tenants(database)
    with database.transaction() as session:
        for n in range(5):
            audit.record(session, TENANT, "user:owner", "document.delete", f"document {n}", n=n, why=None)
        audit.record(session, OTHER, "user:owner", "key.create", "elsewhere")
    with database.reading() as session:
        first = audit.records(session, TENANT, limit=3)
        rest = audit.records(session, TENANT, limit=3, before=first[-1].id)
    assert [record.detail for record in first + rest] == [{"n": n, "why": None} for n in (4, 3, 2, 1, 0)]
    assert {(record.actor, record.action) for record in first} == {("user:owner", "document.delete")}


def test_a_record_is_kept_only_with_its_deed(database: Database) -> None:
    add_tenants(database)
    with pytest.raises(RuntimeError), database.transaction() as session:  # noqa: PT012 - the block is the subject
        audit.record(session, TENANT, "user:owner", "document.delete", "x")
        raise RuntimeError
    with database.reading() as session:
        assert audit.records(session, TENANT, limit=1) == []


def test_a_target_of_any_length_is_recorded(database: Database) -> None:
    add_tenants(database)
    with database.transaction() as session:
        audit.record(session, TENANT, "x" * 1_000, "a.b", "y" * 10_000)
        assert len(audit.records(session, TENANT, limit=1)) == 1
