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
    with _locking(database, "pg_try_advisory_lock", key, idle_seconds=120) as mine:
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
    with _locking(database, function, _LOCK) as taken:
        if not taken:
            raise Conflict(
                "Another Footnote works on this database, with another data directory or as workers; nothing was "
                "changed. Stop it first, or set FOOTNOTE_DATABASE_URL to a database of its own."
            )
        yield


@contextmanager
def _locking(database: Database, function: str, key: int, *, idle_seconds: int | None = None) -> Iterator[bool]:
    """Try to take the lock with a connection of its own; yield whether it is taken, and let go of it at the end."""
    with database.reading() as session:  # Its own kind of error for a server that is not there.
        session.execute(text("SELECT 1"))
    with database.engine.connect() as connection:
        connection.detach()  # The lock lives as long as this very connection, which the pool must not reuse.
        if idle_seconds is not None:
            connection.execute(text(f"SET idle_session_timeout = '{idle_seconds}s'"))
        taken = bool(connection.execute(text(f"SELECT {function}(:key)"), {"key": key}).scalar_one())
        connection.commit()
        yield taken
