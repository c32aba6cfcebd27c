"""A PostgreSQL server of a benchmark alone, with the durability that PostgreSQL has by default."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

USER = "footnote"
START_SECONDS = 60.0
SETTINGS = ("shared_buffers=512MB", "max_wal_size=4GB", "random_page_cost=1.1")


class NoPostgres(RuntimeError):
    """There is no PostgreSQL to start, or it did not start."""


@contextmanager
def postgres_server(settings: Sequence[str] = SETTINGS) -> Iterator[str]:
    """Yield the URL, without a database name, of a new and empty server; it and its data go at the end.

    `settings` are `name=value` as in `postgresql.conf`. Raises `NoPostgres`.
    """
    binaries = _binaries()
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="footnote-pg-"))
    if account is not None:
        shutil.chown(folder, account)
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    cluster = folder / "cluster"
    try:
        subprocess.run(  # noqa: S603 - the package's own program
            [binaries / "initdb", "-D", cluster, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"],
            check=True,
            capture_output=True,
            user=account,
            cwd=folder,
            env=environment,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["listen_addresses=127.0.0.1", f"port={port}", f"unix_socket_directories={folder}", *settings]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(  # noqa: S603 - the package's own program
                [binaries / "postgres", "-D", cluster, *(part for option in options for part in ("-c", option))],
                stdout=log,
                stderr=log,
                user=account,
                cwd=folder,
                env=environment,
            )
        try:
            url = f"postgresql://{USER}@127.0.0.1:{port}"
            _wait(url, server, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: nothing in it is kept
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_database(server: str, name: str) -> str:
    """Create an empty database and return its URL."""
    _administer(server, f'CREATE DATABASE "{name}"')
    return f"{server}/{name}"


def _binaries() -> Path:
    installed = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
    if installed:
        return max(installed, key=lambda folder: float(folder.parent.name))
    initdb = shutil.which("initdb")
    if initdb is None:
        raise NoPostgres("PostgreSQL is not installed; nothing was measured. Install the package postgresql.")
    return Path(initdb).parent


def _account() -> str | None:
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415 - not on every system

    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise NoPostgres("PostgreSQL refuses to run as root; nothing was measured. Run this as another user.")


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            _administer(url, "SELECT 1")
        except OperationalError:
            time.sleep(0.1)
        else:
            return
    raise NoPostgres(f"PostgreSQL did not start; nothing was measured. It said:\n{log.read_text()[-2000:]}")


def _administer(url: str, statement: str) -> None:
    engine = create_engine(f"{url}/postgres", isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()
