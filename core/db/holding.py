"""Who may work on a PostgreSQL catalogue: one embedded installation alone, or any number of distributed processes."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from core.db.session import Database
from core.errors import Conflict

_LOCK = 0x466F6F75  # Any number that nobody else locks.


@contextmanager
def only_one(database: Database, what: str) -> Iterator[bool]:
    """Yield whether this process alone may do `what` until the block ends; False while another one does.

    On PostgreSQL alone: elsewhere one process has it all. A process that is frozen loses it after two minutes.
    """
    if database.engine.dialect.name != "postgresql":
        yield True
        return
    key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
    with database.reading() as session:  # Its own kind of error for a server that is not there.
        session.execute(text("SELECT 1"))
    with database.engine.connect() as connection:
        connection.detach()  # as below
        connection.execute(text("SET idle_session_timeout = '120s'"))
        mine = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar_one())
        connection.commit()
        yield mine


@contextmanager
def held(database: Database, *, alone: bool) -> Iterator[None]:
    """Hold the catalogue until the block ends, `alone` or together with others that are not alone.

    It keeps apart what would undo each other's work: an embedded installation reclaims every lease when it starts. On
    SQLite the lock of the data directory does that already. Should the connection break, the hold is lost unnoticed.

    :raises Conflict: somebody else holds it; nothing was changed.
    """
    if database.engine.dialect.name != "postgresql":
        yield
        return
    function = "pg_try_advisory_lock" if alone else "pg_try_advisory_lock_shared"
    with database.reading() as session:  # Its own kind of error for a server that is not there.
        session.execute(text("SELECT 1"))
    with database.engine.connect() as connection:
        connection.detach()  # The lock lives as long as this very connection, which the pool must not reuse.
        taken = connection.execute(text(f"SELECT {function}(:key)"), {"key": _LOCK}).scalar_one()
        connection.commit()
        if not taken:
            raise Conflict(
                "Another Footnote works on this database, with another data directory or as workers; nothing was "
                "changed. Stop it first, or set FOOTNOTE_DATABASE_URL to a database of its own."
            )
        yield
