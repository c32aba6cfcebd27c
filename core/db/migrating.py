"""Alembic, configured in code: there is no ini file to find. Imported only when there is something to migrate."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from core.errors import Conflict

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"  # beside `core`, in the wheel as in the repository
_LOCK = 0x466F6F74  # Any number that nobody else locks.
_ROWS = 1_000_000


def config(connection: Connection) -> Config:
    """Return Alembic's configuration for work on this connection."""
    alembic = Config()
    alembic.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    alembic.attributes["connection"] = connection
    return alembic


def upgrade(engine: Engine) -> None:
    """Run the missing migrations, all in one transaction; a second process that wants the same waits and finds it done.

    :raises Conflict: the database is at a revision that this Footnote does not know.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.detach()  # Foreign keys are off here: this connection is closed, never pooled again.
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            try:
                command.upgrade(config(connection), "head")
            except CommandError as error:
                raise Conflict(
                    "The database was written by a newer version of Footnote; nothing was changed. Start that version."
                ) from error
            if connection.dialect.name == "sqlite":
                if connection.execute(text("PRAGMA foreign_key_check")).first():
                    raise Conflict("A migration would have broken references between rows; nothing was changed.")
                _tell_the_planner(connection)


def _tell_the_planner(connection: Connection) -> None:
    """Write SQLite's index statistics by hand: one tenant has all the rows, and every further column tells them apart.

    Without statistics SQLite takes `tenant = ?` to be as selective as any other equality, and reads whole tables.
    """
    inspector = inspect(connection)
    connection.execute(text("ANALYZE sqlite_schema"))  # creates the table of statistics
    connection.execute(text("DELETE FROM sqlite_stat1"))
    for table in inspector.get_table_names():
        for _, name, unique, *_ in connection.execute(text(f'PRAGMA index_list("{table}")')).all():
            columns = [row[2] for row in connection.execute(text(f'PRAGMA index_info("{name}")'))]
            if columns[0] != "tenant":
                continue
            rows = [_ROWS // 10 if column == "source_id" else 10 for column in columns[1:]]
            if unique:
                rows[-1:] = [1]
            statistic = " ".join(str(number) for number in (_ROWS, _ROWS, *rows))
            connection.execute(
                text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"),
                {"tbl": table, "idx": name, "stat": statistic},
            )
