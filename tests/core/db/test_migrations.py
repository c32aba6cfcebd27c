import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic import command
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, select, text

from core.db import migrating, tables
from core.db.base import Base
from core.db.session import HEAD, Database, sqlite_url
from core.db.tables import StageRow, TurnRow
from core.errors import Conflict
from tests.core.db.scenario import OTHER, Story


def differences(connection: Connection) -> object:
    from alembic.autogenerate import compare_metadata

    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, Base.metadata)


def checks(connection: Connection) -> dict[str, list[tuple[str | None, str]]]:
    inspector = inspect(connection)
    return {
        table: sorted((check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table))
        for table in Base.metadata.tables
    }


def test_every_table_is_known_to_the_metadata() -> None:
    declared = {getattr(tables, name).__tablename__ for name in tables.__all__}
    assert declared == set(Base.metadata.tables)


def test_the_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection:
        assert differences(connection) == []


def test_the_migrations_make_the_same_sql_as_the_code_on_sqlite(sqlite_database: Database, tmp_path: Path) -> None:
    def schema(connection: Connection) -> dict[str, list[str]]:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        # The parts of a statement, whatever their order and layout.
        return {
            row.name: sorted(part.strip(" ,()") for part in re.split(r"[\n\t]+|, (?=[a-z_]+ [A-Z])", row.sql))
            for row in rows
            if row.name not in {"alembic_version", "sqlite_stat1"}
        }

    plain = create_engine(sqlite_url(tmp_path))
    with plain.begin() as connection:
        Base.metadata.create_all(connection)
        expected = schema(connection)
    plain.dispose()
    with sqlite_database.engine.connect() as connection:
        assert schema(connection) == expected


@pytest.mark.slow
def test_the_migrations_make_the_same_checks_as_the_code_on_postgresql(
    postgres_server: str, postgres_database: Database
) -> None:
    plain = create_engine(f"{postgres_server}/postgres")
    with plain.connect() as connection:
        Base.metadata.create_all(connection)  # rolled back with the connection
        expected = checks(connection)
    plain.dispose()
    with postgres_database.engine.connect() as connection:
        assert checks(connection) == expected


def test_the_migrations_go_down_to_nothing_and_up_again(database: Database) -> None:
    engine = database.engine.execution_options(footnote_mode="write")
    with engine.begin() as connection:
        command.downgrade(migrating.config(connection), "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    database.upgrade()
    with engine.connect() as connection:
        assert differences(connection) == []


def test_turns_are_made_of_the_stages_that_were_begun_before_there_were_any(database: Database) -> None:
    story = Story.begin(database)
    story.upload("a")
    story.upload("b", tenant=OTHER)
    (first,) = story.claim(limit=1)
    with database.reading() as session:
        started = session.scalars(select(StageRow.started_at).where(StageRow.id == first.id)).one()
    engine = database.engine.execution_options(footnote_mode="write")
    with engine.begin() as connection:
        command.downgrade(migrating.config(connection), "0001")
    with engine.connect() as connection:
        assert not inspect(connection).has_table("turns")
        assert "ix_stages_claim" in {index["name"] for index in inspect(connection).get_indexes("stages")}
    database.upgrade()
    with database.reading() as session:
        turns = [(row.tenant, row.name, row.served_at) for row in session.scalars(select(TurnRow))]
    assert turns == [(first.tenant, first.name, started)]
    (second,) = story.claim()  # It waited through both migrations, and it has no turn.
    assert second.tenant != first.tenant


def test_the_revision_that_start_up_trusts_is_the_newest_migration(sqlite_database: Database) -> None:
    with sqlite_database.engine.connect() as connection:
        scripts = ScriptDirectory.from_config(migrating.config(connection))
    assert scripts.get_heads() == [HEAD]


def test_an_upgrade_with_nothing_to_do_does_not_import_alembic(sqlite_database: Database) -> None:
    code = (
        "import sys; from core.db.session import Database; Database(sys.argv[1]).upgrade(); assert"
        " not [name for name in sys.modules if name.startswith('alembic')]"
    )
    url = sqlite_database.engine.url.render_as_string()
    subprocess.run([sys.executable, "-c", code, url], check=True, timeout=60)


def test_a_database_of_a_newer_version_is_left_alone_with_a_clear_error(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="newer version"):
        database.upgrade()
    with database.reading() as session:
        assert session.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"


@pytest.mark.slow
def test_two_processes_may_upgrade_the_same_new_database(tmp_path: Path) -> None:
    code = "import sys; from core.db.session import Database; Database(sys.argv[1]).upgrade()"
    url = sqlite_url(tmp_path)
    started = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
    deadline = time.monotonic() + 120
    try:
        assert [process.wait(deadline - time.monotonic()) for process in started] == [0, 0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()
    database = Database(url)
    with database.engine.connect() as connection:
        assert differences(connection) == []
    database.close()
