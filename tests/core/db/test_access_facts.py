import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event

from core.access import Entry, ancestors, effective, may_read
from core.db import access
from core.db.session import Database, sqlite_url
from core.db.tables import AccessEntryRow, DocumentRow, IndexTaskRow, SourceRow
from core.domain import Effect, Principal, Role
from core.ids import TenantId
from tests.core.db.seeding import (
    TENANT,
    add_document,
    add_source,
    add_tenants,
    mark_deleted,
)


def asker(*closure: str, role: Role = "reader", tenant: TenantId = TENANT) -> Principal:
    return Principal(tenant=tenant, closure=frozenset(closure), role=role)


def test_many_documents_take_a_few_statements(database: Database) -> None:
    add_tenants(database)
    with database.transaction() as session:
        source = add_source(session)
        many = [add_document(session, source, f"team/{n % 7}/{n}.txt") for n in range(200)]
    statements: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    with database.reading() as session:
        session.connection()
        event.listen(database.engine, "before_cursor_execute", note)
        access.readable(session, asker("user:owner"), many)
        event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) == 3


def test_sqlite_finds_every_fact_by_an_index_that_tells_rows_of_a_tenant_apart(sqlite_database: Database) -> None:
    add_tenants(sqlite_database)
    seen: list[tuple[str, object]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        seen.append((statement, parameters))

    with sqlite_database.transaction() as session:
        document = add_document(session, add_source(session), "a/b.txt")
    event.listen(sqlite_database.engine, "before_cursor_execute", note)
    with sqlite_database.reading() as session:
        access.readable(session, asker("*"), [document])
    event.remove(sqlite_database.engine, "before_cursor_execute", note)
    with sqlite_database.engine.connect() as connection:
        for statement, parameters in seen:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()  # type: ignore[arg-type] # the driver's own
            assert all("tenant=? AND" in row[3] for row in plan if "SEARCH" in row[3] or "SCAN" in row[3]), plan


PRINCIPALS = ["*", "user:a", "user:b", "group:g", "group:h"]


FOLDERS = ["", "x", "x/y", "x/y/z", "w"]


effects: st.SearchStrategy[Effect] = st.sampled_from(["allow", "deny"])


entry_lists = st.lists(st.builds(Entry, st.sampled_from(PRINCIPALS), effects), max_size=3)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    source: int
    folder: str
    own: list[Entry]
    inherit: bool
    uploader: str
    deleted: bool


catalogues = st.tuples(
    st.lists(
        st.builds(
            Drawn,
            source=st.integers(0, 1),
            folder=st.sampled_from(FOLDERS),
            own=entry_lists,
            inherit=st.booleans(),
            uploader=st.sampled_from(["user:a", "user:b"]),
            deleted=st.sampled_from([False, False, False, True]),
        ),
        max_size=6,
    ),
    st.dictionaries(st.tuples(st.sampled_from([None, 0, 1]), st.sampled_from(FOLDERS)), entry_lists, max_size=4),
    st.frozensets(st.sampled_from(PRINCIPALS)),
)


@pytest.fixture(scope="module")
def seeded(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One catalogue for all examples: making a file for each would take most of the time."""
    folder = tmp_path_factory.mktemp("seeded")
    shutil.copy(sqlite_template, folder / "catalogue.db")
    database = Database(sqlite_url(folder))
    add_tenants(database)
    yield database
    database.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(catalogues)
def test_the_catalogue_decides_as_the_pure_model_does(
    seeded: Database,
    catalogue: tuple[list[Drawn], dict[tuple[int | None, str], list[Entry]], frozenset[str]],
) -> None:
    drawn, folders, closure = catalogue
    with seeded.transaction() as session:
        for row in (IndexTaskRow, AccessEntryRow, DocumentRow, SourceRow):
            session.execute(delete(row))
        sources = [add_source(session, f"/{n}") for n in range(2)]
        documents = []
        for n, one in enumerate(drawn):
            name = f"{one.folder}/{n}.txt".lstrip("/")
            document = add_document(session, sources[one.source], name, uploader=one.uploader, inherit=one.inherit)
            access.add_entries(session, TENANT, [({"document_id": document}, entry) for entry in one.own])
            if one.deleted:
                mark_deleted(session, document)
            documents.append(document)
        for (source, folder), entries in folders.items():
            place = {"source_id": None if source is None else sources[source], "folder": folder}
            access.add_entries(session, TENANT, [(place, entry) for entry in entries])
    expected = set()
    for document, one in zip(documents, drawn, strict=True):
        inherited = [
            entry
            for folder in ancestors(one.folder)
            for source in (None, one.source)
            for entry in folders.get((source, folder), [])
        ]
        held = effective(one.own, inherited, inherit=one.inherit, uploader=one.uploader)
        if not one.deleted and may_read(held, closure):
            expected.add(document)
    with seeded.reading() as session:
        assert access.readable(session, asker(*closure), documents) == expected
