"""PostgreSQL, Redis and RabbitMQ of one's own, from the binaries of this machine, on free ports of the loopback."""

import errno
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

from core.errors import Unavailable
from footnote.topology.processes import Program

DATABASE = "footnote"
_given: set[int] = set()  # Ports: who was given one may not listen there yet, or be down just now.
_giving = threading.Lock()


def free_port() -> int:
    """Return a port of the loopback that nobody listens on now, and that was not given before in this process.

    Not one of those that the system gives to connections (from 32768 on, where Linux' own setting holds): while a
    program is down, one of the clients that look for it would sooner or later be given its port, and keep it.
    """
    for port in random.sample(range(20_000, 32_768), k=200):
        try:
            with _giving, socket.create_server(("127.0.0.1", port)):
                if port not in _given:
                    _given.add(port)
                    return port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise Unavailable("Of 200 ports of the loopback none is free.")


def listens(port: int) -> bool:
    """Whether somebody takes connections on this port of the loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def database_password(file: Path) -> str:
    """Return the password of the database, a new one where there is none yet; only we can read the file."""
    if not file.exists():
        _write_secret(file, secrets.token_urlsafe(24))
    return file.read_text()


def _write_secret(file: Path, secret: str) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(secret)


def postgres(folder: Path, port: int, *, password: str, durable: bool = True) -> Program:
    """Return PostgreSQL over a cluster in the folder, which is made when there is none.

    :raises Unavailable: PostgreSQL is not installed, or cannot work in this folder.
    """
    binaries = _postgres_binaries()
    user = _unprivileged_user()
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        shutil.chown(folder, user)
    cluster = folder / "cluster"
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    if not (cluster / "PG_VERSION").exists():
        secret = folder / "password-for-initdb"
        _write_secret(secret, password)
        if user is not None:
            shutil.chown(secret, user)
        made = subprocess.run(  # noqa: S603 - a server of this machine
            [
                *(binaries / "initdb", "-D", cluster, "-U", DATABASE, "-E", "UTF8", "--locale=C"),
                *("-A", "scram-sha-256", "--pwfile", secret),
            ],
            check=False,
            capture_output=True,
            text=True,
            user=user,
            cwd="/",
            env=environment,
        )
        secret.unlink()
        if made.returncode:
            shutil.rmtree(cluster, ignore_errors=True)
            raise Unavailable(f"PostgreSQL could not make a cluster in {folder}: {made.stderr.strip()[-300:]}")
    settings = [
        "listen_addresses=127.0.0.1",
        f"port={port}",
        f"unix_socket_directories={folder}",
        "max_connections=200",
    ]
    if not durable:  # For tests of what processes do: power failures are not among them.
        settings += ["fsync=off", "full_page_writes=off"]
    return Program(
        name="postgres",
        command=[str(binaries / "postgres"), "-D", str(cluster), *(part for one in settings for part in ("-c", one))],
        environment=environment,
        log=folder / "log",
        ready=lambda: _database_exists(binaries, port, password),
        stop=signal.SIGINT,  # fast shutdown
        user=user,
        folder=folder,
    )


def postgres_url(port: int, password: str) -> str:
    """Return the URL of the database of that server."""
    return f"postgresql+psycopg://{DATABASE}:{password}@127.0.0.1:{port}/{DATABASE}"


def redis(folder: Path, port: int, *, durable: bool = True) -> Program:
    """Return Redis with its files in the folder: appended to and synced every second, and nothing ever evicted.

    :raises Unavailable: Redis is not installed.
    """
    binary = shutil.which("redis-server")
    if binary is None:
        raise Unavailable("Redis is not installed (Debian: apt-get install redis-server).")
    folder.mkdir(parents=True, exist_ok=True)
    kept = ["--appendonly", "yes", "--appendfsync", "everysec"] if durable else ["--appendonly", "no"]
    return Program(
        name="redis",
        command=[
            *(binary, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
            *("--save", "", "--maxmemory-policy", "noeviction", *kept),
        ],
        environment={"PATH": os.environ.get("PATH", "")},
        log=folder / "log",
        ready=lambda: listens(port),
    )


def rabbitmq(folder: Path, port: int) -> tuple[Program, Program]:
    """Return what RabbitMQ finds its nodes by, and RabbitMQ with its files in the folder, to be started in this order.

    Both run as we do, and end with us: left to itself, RabbitMQ would leave a name server behind that outlives it.

    :raises Unavailable: RabbitMQ is not installed.
    """
    binary, names = rabbitmq_binary(), shutil.which("epmd")
    if binary is None or names is None:
        raise Unavailable("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server).")
    folder.mkdir(parents=True, exist_ok=True)
    names_port = free_port()
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console.level = warning\n")
    (folder / "plugins").write_text("[].")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "C.UTF-8",
        "HOME": str(folder),  # of its cookie
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_ALLOW_INPUT": "1",  # The start script becomes the server: one process, which signals reach.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput",
        "RABBITMQ_NODENAME": f"footnote-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
    }
    name_server = Program(
        name="epmd",
        command=[names, "-port", str(names_port), "-address", "127.0.0.1"],
        environment=environment,
        log=folder / "epmd.log",
        ready=lambda: listens(names_port),
    )
    server = Program(
        name="rabbitmq", command=[binary], environment=environment, log=folder / "log", ready=lambda: listens(port)
    )
    return name_server, server


def rabbitmq_binary() -> str | None:
    """Return the script that starts RabbitMQ as whoever calls it; None where it is not installed."""
    # Debian's one on the path becomes another user first.
    return shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ.get('PATH', '')}")


def _database_exists(binaries: Path, port: int, password: str) -> bool:
    """Whether the server answers and has our database; makes it where it is missing."""
    environment = {"PATH": os.environ.get("PATH", ""), "PGPASSWORD": password}
    server = ["-h", "127.0.0.1", "-p", str(port), "-U", DATABASE]
    found = subprocess.run(  # noqa: S603 - a server of this machine
        [binaries / "psql", *server, "-d", DATABASE, "-c", "SELECT 1"],
        check=False,
        capture_output=True,
        env=environment,
    )
    if found.returncode == 0:
        return True
    made = subprocess.run(  # noqa: S603 - as above
        [binaries / "createdb", *server, DATABASE], check=False, capture_output=True, env=environment
    )
    return made.returncode == 0


def _postgres_binaries() -> Path:
    installed = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
    if installed:
        return max(installed, key=lambda folder: float(folder.parent.name))
    initdb = shutil.which("initdb")
    if initdb is None:
        raise Unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql).")
    return Path(initdb).parent


def _unprivileged_user() -> str | None:
    """Return the name of somebody whom root can run PostgreSQL as, which refuses root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise Unavailable("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as.")
