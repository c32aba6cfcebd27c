"""Who may work on a PostgreSQL catalogue: one embedded installation alone, or any number of distributed processes."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from core.db.session import Database
from core.errors import Conflict

log = structlog.get_logger()

IDLE_SECONDS = 120.0
BEATS = 4  # of a hold, in the time after which it is taken from who shows no life
_LOCK = 0x466F6F75  # Any number that nobody else locks.


@contextmanager
def only_one(database: Database, what: str) -> Iterator[bool]:
    """Yield whether this process alone may do `what` until the block ends; False while another one does.

    On PostgreSQL alone: elsewhere one process has it all. A process that is frozen loses it after two minutes, one that
    works for longer does not.
    """
    if database.engine.dialect.name != "postgresql":
        yield True
        return
    key = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], signed=True)
    with _locking(database, "pg_try_advisory_lock", key, idle_seconds=IDLE_SECONDS) as mine:
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
def _locking(database: Database, function: str, key: int, *, idle_seconds: float | None = None) -> Iterator[bool]:
    """Try to take the lock with a connection of its own; yield whether it is taken, and let go of it at the end."""
    with database.reading() as session:  # Its own kind of error for a server that is not there.
        session.execute(text("SELECT 1"))
    with database.engine.connect() as connection:
        connection.detach()  # The lock lives as long as this very connection, which the pool must not reuse.
        if idle_seconds is not None:
            connection.execute(text(f"SET idle_session_timeout = {round(1_000 * idle_seconds)}"))
        taken = bool(connection.execute(text(f"SELECT {function}(:key)"), {"key": key}).scalar_one())
        connection.commit()
        try:
            with _beating(connection, idle_seconds if taken else None):
                yield taken
        finally:
            with suppress(SQLAlchemyError):  # The server notices a connection that was closed a little later.
                connection.execute(text("SELECT pg_advisory_unlock_all()"))
                connection.commit()


@contextmanager
def _beating(connection: Connection, idle_seconds: float | None) -> Iterator[None]:
    """Show the server that this process lives: it takes the lock from those that it hears nothing of."""
    if idle_seconds is None:
        yield
        return
    over = threading.Event()

    def beat() -> None:
        while not over.wait(idle_seconds / BEATS):
            try:
                connection.execute(text("SELECT 1"))
                connection.commit()
            except SQLAlchemyError as error:
                log.warning("hold_lost", exc_info=error)
                return

    thread = threading.Thread(target=beat, name="hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
