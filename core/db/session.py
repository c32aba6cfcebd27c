"""The engine and the two ways into it: `transaction` holds the only commit, `reading` never writes."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from core.errors import FootnoteError, StorageFull, Unavailable

HEAD = "0007"  # The newest migration; a test compares it with the folder, so that start-up need not import Alembic.
BUSY_SECONDS = 30.0  # How long a writer waits for another one before it gives up.
LOOK_SECONDS = 0.001  # How often it looks meanwhile.

_FULL = {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"}  # the second: no room for the file that readers share
_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED"}
_MODE = "footnote_mode"


def sqlite_url(data: Path) -> str:
    """Return the URL of the catalogue of a data directory; any path is fine, also one with `?`, `%` or spaces."""
    return URL.create("sqlite", database=str(data / "catalogue.db")).render_as_string()


class Database:
    """The catalogue's database; one per process. Safe for many threads, and on SQLite for several processes at once."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        # Writers of this process queue on a lock: SQLite's own waiting sleeps up to 100 ms at a time and is not fair.
        self._gate = threading.Lock() if self._sqlite else None
        self.engine: Engine = create_engine(
            parsed,
            pool_size=8,
            max_overflow=56,
            hide_parameters=True,  # errors and logs never carry document text
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False} if self._sqlite else {},
        )
        if self._sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            self._writer: Engine = self.engine.execution_options(**{_MODE: "write"})
            self._reader = self.engine.execution_options(**{_MODE: "read"})
        else:
            self._writer = self.engine
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session whose work is committed at the end, or wholly undone by any exception.

        On SQLite it holds the write lock from its first statement: never call a model or wait for a client inside,
        and never open a second one inside the first.

        :raises StorageFull: the disk did not take it; nothing was kept.
        :raises Unavailable: the database is locked or does not answer; nothing was kept.
        """
        with self._gated(), _translated(), Session(self._writer, expire_on_commit=False) as session:
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session over one consistent snapshot. It never commits; a statement that writes is an error."""
        with _translated(), Session(self._reader, expire_on_commit=False) as session:
            yield session  # Closing rolls back, and leaves what was loaded readable.

    def upgrade(self) -> None:
        """Bring the schema to the newest migration; quick, and without importing Alembic, when it is there already.

        :raises Conflict: a newer Footnote wrote this database.
        """
        with _translated():
            with self.engine.connect() as connection:
                if _revision(connection) == HEAD:
                    return
            from core.db import migrating  # noqa: PLC0415 - Alembic takes a quarter of a second to import

            with self._gated():
                migrating.upgrade(self.engine.execution_options(**{_MODE: "migrate"}))

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _gated(self) -> Iterator[None]:
        if self._gate is None:
            yield
            return
        if not self._gate.acquire(timeout=BUSY_SECONDS):
            raise Unavailable("The catalogue is busy with another write; nothing was changed. Try again.")
        try:
            yield
        finally:
            self._gate.release()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _configure_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # The driver must not begin by itself: `_begin_sqlite` does.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "journal_size_limit=67108864"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_MODE, "read")
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"PRAGMA query_only={'ON' if mode == 'read' else 'OFF'}")
        if mode == "migrate":
            cursor.execute("PRAGMA foreign_keys=OFF")  # Rebuilding a table must not cascade; no effect once begun.
        if mode == "read":
            cursor.execute("BEGIN")
        else:
            _begin_writing(cursor)
    finally:
        cursor.close()


def _begin_writing(cursor: DBAPICursor) -> None:
    """Take the lock of the one writer that there can be, as soon as another process lets it go.

    SQLite's own waiting sleeps for ever longer, up to 100 ms, and whoever comes back at once overtakes it: a question
    would wait for the whole of an import that goes on. A deferred transaction that reads and then writes can fail at
    once, so it is taken before anything is read.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    cursor.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(LOOK_SECONDS)
    finally:
        cursor.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1_000)}")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        ours = _ours(error)
        if ours is None:
            raise
        raise ours from error
    except sqlite3.OperationalError as error:  # raised in `_begin_sqlite`, below SQLAlchemy's own wrapping
        ours = _ours_of_sqlite(error)
        if ours is None:
            raise
        raise ours from error


def _ours(error: DBAPIError) -> FootnoteError | None:
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return _ours_of_sqlite(original)
    state = getattr(original, "sqlstate", None) or ""
    if state == "53100":  # disk_full
        return StorageFull("The database has no space left; nothing was changed. Free some space and try again.")
    if error.connection_invalidated or (isinstance(error, OperationalError) and not state) or state[:2] in _GONE:
        return Unavailable("The database does not answer; nothing was changed. Try again.")
    return None


_GONE = {"08", "40", "53", "55", "57"}  # connection, serialisation and deadlock, resources, locks, shut-down


def _ours_of_sqlite(error: sqlite3.Error) -> FootnoteError | None:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name in _FULL:
        return StorageFull("The disk is full; nothing was changed. Free some space and try again.")
    if _is_busy(error):
        return Unavailable("The catalogue is busy with another write; nothing was changed. Try again.")
    return None


def _is_busy(error: sqlite3.Error) -> bool:
    name = getattr(error, "sqlite_errorname", None) or ""
    return any(name.startswith(busy) for busy in _BUSY)
