"""What tests share: real databases, made by the real migrations, one per test."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from core.db import tables  # noqa: F401 - fills the metadata
from core.db.base import Base
from core.db.session import Database, sqlite_url
from core.errors import FootnoteError


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data folder beside the repository; tests of data that is not part of it skip where it is absent."""
    root = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("FOOTNOTE_SHARED", root.parent / "shared")) / "data"
    if not data.is_dir():
        pytest.skip("FOOTNOTE_SHARED names no folder with data")
    return data


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    database = Database(sqlite_url(folder))
    database.upgrade()
    database.close()
    return folder / "catalogue.db"


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty, migrated catalogue on SQLite."""
    folder = tmp_path / "catalogue"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "catalogue.db")
    database = Database(sqlite_url(folder))
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server of this test process alone, without the database name."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="footnote-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    cluster = folder / "cluster"
    subprocess.run(
        [binaries / "initdb", "-D", cluster, "-U", "footnote", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        check=True,
        capture_output=True,
        user=user,
        cwd=folder,
        env=environment,
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    speed = ["fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=32MB", "autovacuum=off"]
    options = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}", *speed]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", cluster, *(part for option in options for part in ("-c", option))],
            stdout=log,
            stderr=log,
            user=user,
            cwd=folder,
            env=environment,
            start_new_session=True,  # Ctrl-C ends the tests, and they end the server.
            preexec_fn=_end_with_the_tests,  # noqa: PLW1509 - nothing else runs in this process yet that could lock
        )
    try:
        url = f"postgresql://footnote@127.0.0.1:{port}"
        _wait_until_ready(url, server, folder / "log")
        yield url
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing in it is kept
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: str) -> str:
    _administer(postgres_server, "CREATE DATABASE footnote")
    return f"{postgres_server}/footnote"


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    """An empty, migrated catalogue on PostgreSQL. Tests that use it are marked slow."""
    # Emptying one database takes a hundredth of a second, creating another half a second.
    database = Database(postgres_url)
    try:
        database.upgrade()
        with database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(table.delete())
    except (FootnoteError, SQLAlchemyError):  # a test that failed left a schema behind that is not ours
        with database.transaction() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
        database.upgrade()
    yield database
    database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty, migrated catalogue: once on SQLite, once on PostgreSQL. It holds no tenant yet."""
    name = "sqlite_database" if request.param == "sqlite" else "postgres_database"
    found: Database = request.getfixturevalue(name)
    return found


def _postgres_binaries() -> Path | None:
    installed = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
    if installed:
        return max(installed, key=lambda folder: float(folder.parent.name))
    initdb, postgres = shutil.which("initdb"), shutil.which("postgres")
    if initdb and postgres and Path(initdb).parent == Path(postgres).parent:
        return Path(initdb).parent
    return None


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root: the name of somebody else, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    pytest.skip("running as root, and there is no unprivileged user to run PostgreSQL as")


def _end_with_the_tests() -> None:
    """Have Linux end this process when the tests are killed and cannot do it."""
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGQUIT)


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with contextlib.suppress(OperationalError):
            _administer(url, "SELECT 1")
            return
        time.sleep(0.1)
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _administer(url: str, statement: str) -> None:
    engine = create_engine(f"{url}/postgres", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()
