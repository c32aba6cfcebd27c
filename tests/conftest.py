"""What tests share: real databases, made by the real migrations, one per test."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from copy import copy
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from core.db import tables  # noqa: F401 - fills the metadata
from core.db.base import Base
from core.db.session import Database, sqlite_url
from core.errors import FootnoteError
from footnote.topology.servers import free_port
from tests.object_store import Swift
from tests.object_store import missing as missing_swift
from tests.processes import end_with_the_tests, ended

NAMED_POSTGRES = os.environ.get("FOOTNOTE_TEST_POSTGRES_URL")  # As postgresql+psycopg://user:password@host:5432

# Of the profile that Hypothesis chose: where CI is set it draws the same examples each time. No deadline, and no
# complaint about slow drawing: how long an example takes tells more of what else the machine does than of the code.
settings.register_profile(
    "footnote",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("footnote")


@pytest.fixture
def chance() -> random.Random:
    """Chance that is another in every run but those of CI; pytest shows the seed of a run that failed."""
    seed = "CI" if "CI" in os.environ else f"{time.time_ns()}"
    sys.stdout.write(f"chance is random.Random({seed!r})\n")
    return random.Random(seed)  # noqa: S311 - chance, not secrets


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


@pytest.fixture(scope="session")
def sqlite_connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The one engine of all tests: a statement that it has composed once need not be composed for each of them."""
    database = Database(sqlite_url(tmp_path_factory.mktemp("catalogue")))
    yield database
    database.close()


@pytest.fixture
def sqlite_database(sqlite_connected: Database, sqlite_template: Path) -> Iterator[Database]:
    """An empty, migrated catalogue on SQLite."""
    path = Path(sqlite_connected.engine.url.database or "")
    for ending in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    shutil.copy(sqlite_template, path)
    sqlite_connected.close()  # Connections that threads of a failed test gave back lead to the file of before.
    database = copy(sqlite_connected)  # What a test puts on it is its own,
    database._gate = threading.Lock()  # and so is the lock: a failed test may not have let go of it.
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL, without a database's name, of a PostgreSQL server of this test process alone, or of the one named to us."""
    if NAMED_POSTGRES:
        yield NAMED_POSTGRES.rstrip("/")
        return
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
    port = free_port()
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
            preexec_fn=partial(end_with_the_tests, signal.SIGQUIT),  # noqa: PLW1509 - it calls the kernel alone
        )
    try:
        url = f"postgresql://footnote@127.0.0.1:{port}"
        _wait_until_ready(url, server, folder / "log")
        yield url
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing in it is kept
        ended(server)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: str) -> Iterator[str]:
    name = f"footnote_test_{os.getpid()}"
    _administer(postgres_server, f"CREATE DATABASE {name}")
    yield f"{postgres_server}/{name}"
    if NAMED_POSTGRES:  # Our own goes with all that is in it.
        _administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres_connected(postgres_url: str) -> Iterator[Database]:
    """As on SQLite."""
    database = Database(postgres_url)
    yield database
    database.close()


@pytest.fixture
def postgres_database(postgres_connected: Database) -> Iterator[Database]:
    """An empty, migrated catalogue on PostgreSQL. Tests that use it are marked slow."""
    # Emptying one database takes a hundredth of a second, creating another half a second.
    database = copy(postgres_connected)
    try:
        database.upgrade()
        with database.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name != "secrets":  # made by the migration
                    session.execute(table.delete())
    except (FootnoteError, SQLAlchemyError):  # a test that failed left a schema behind that is not ours
        with database.transaction() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
        database.upgrade()
    yield database
    database.close()


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """An S3 service of this test process alone. Tests that use it are marked slow, and leave it running as it was."""
    reason = missing_swift()
    if reason is not None:
        pytest.skip(reason)
    server = Swift(tmp_path_factory.mktemp("swift") / "server")
    try:
        yield server.start()
    finally:
        server.end()


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
