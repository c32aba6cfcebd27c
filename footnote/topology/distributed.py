"""API, workers and index as processes of one machine, with PostgreSQL and Redis: `make up-distributed`."""

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from core.errors import FootnoteError
from core.observability import configure_logging
from footnote.topology.processes import Processes, Program
from footnote.topology.servers import database_password, free_port, postgres, postgres_url, rabbitmq, redis

_BROKER_URLS = {"redis": "redis://127.0.0.1:{}/0", "rabbitmq": "amqp://guest:guest@127.0.0.1:{}//"}
FOOTNOTE = (sys.executable, "-P", "-m", "footnote")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where each server listens on the loopback."""

    api: int
    postgres: int
    broker: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A running distributed installation."""

    processes: Processes
    folder: Path
    ports: Ports
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def owner_key(self) -> str:
        """The owner's API key."""
        return (self.folder / "api" / "owner.key").read_text().strip()


@contextmanager
def distributed(
    folder: Path,
    *,
    port: int = 0,
    durable: bool = True,
    parse_workers: int = 2,
    broker: Literal["redis", "rabbitmq"] = "redis",
    **settings: str,
) -> Iterator[Installation]:
    """Start everything in the folder, keep it running, and end it with the block.

    `settings` are `FOOTNOTE_*` without the prefix, for all processes. Not `durable`: Redis keeps nothing on disk.

    :raises Unavailable: a server is not installed, or something does not come up.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    ports = Ports(api=port or free_port(), postgres=free_port(), broker=free_port(), index=free_port())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    environment |= {name: os.environ[name] for name in ("FOOTNOTE_CACHE",) if name in os.environ}
    environment |= {
        "FOOTNOTE_DATABASE_URL": postgres_url(ports.postgres, database_password(folder / "postgres.password")),
        "FOOTNOTE_BROKER_URL": _BROKER_URLS[broker].format(ports.broker),
        "FOOTNOTE_QDRANT_URL": f"http://127.0.0.1:{ports.index}",
        "FOOTNOTE_BLOBS": str(folder / "blobs"),
        "FOOTNOTE_EMBED_THREADS": "1",
        **{f"FOOTNOTE_{name.upper()}": value for name, value in settings.items()},
    }
    with ExitStack() as ending:
        workers = {**environment, "TMPDIR": str(ending.enter_context(temporary_folder()))}
        processes = Processes()
        ending.callback(processes.stop)
        password = database_password(folder / "postgres.password")
        processes.start(postgres(folder / "postgres", ports.postgres, password=password, durable=durable))
        for program in _broker(broker, folder / broker, ports.broker, durable=durable):
            processes.start(program)
        processes.start(_ours("index", ["index", "--port", str(ports.index)], folder, environment, port=ports.index))
        processes.start(_ours("api", ["up", "--port", str(ports.api)], folder, environment, port=ports.api))
        for number in range(1, parse_workers + 1):
            processes.start(_worker(f"worker-parse-{number}", "parse", folder, workers))
        processes.start(_worker("worker-embed", "embed", folder, workers))
        processes.start(_worker("worker-index", "index", folder, workers))
        processes.start(_worker("worker-maintenance", "maintenance", folder, workers, "--beat"))
        yield Installation(processes=processes, folder=folder, ports=ports, environment=environment)


def _broker(kind: Literal["redis", "rabbitmq"], folder: Path, port: int, *, durable: bool) -> Sequence[Program]:
    return rabbitmq(folder, port) if kind == "rabbitmq" else [redis(folder, port, durable=durable)]


def _ours(
    name: str, arguments: list[str], folder: Path, environment: Mapping[str, str], *, port: int | None = None
) -> Program:
    data = folder / name
    data.mkdir(mode=0o700, exist_ok=True)
    return Program(
        name=name,
        command=[*FOOTNOTE, *arguments, "--data", str(data)],
        environment=environment,
        log=folder / f"{name}.log",
        ready=(lambda: _is_ready(port)) if port is not None else (lambda: True),
        folder=data,
    )


def _worker(name: str, queues: str, folder: Path, environment: Mapping[str, str], *options: str) -> Program:
    return _ours(name, ["worker", "--queues", queues, *options], folder, environment)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder for temporary files of workers: their pools leave some behind whenever they are killed.

    Not in the data directory, which is its owner's alone: parsers, who are nobody then, work in a folder below this.
    """
    with tempfile.TemporaryDirectory(prefix="footnote-workers-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def main() -> None:
    """Run an installation until Ctrl-C."""
    arguments = argparse.ArgumentParser(prog="python -m footnote.topology.distributed", description=__doc__)
    arguments.add_argument("--data", type=Path, default=Path(".footnote-distributed"), help="folder of all its data")
    arguments.add_argument("--port", type=int, default=8080, help="port of the API and the chat page")
    options = arguments.parse_args()
    configure_logging("warning")
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        with distributed(options.data, port=options.port) as installation:
            print(f"Footnote answers on {installation.url}; {', '.join(installation.processes.names)} are running.")  # noqa: T201 - what its user waits for
            print(f"Logs and data: {installation.folder}. The owner's key: {installation.folder}/api/owner.key")  # noqa: T201 - as above
            print("Stop with Ctrl-C.", flush=True)  # noqa: T201 - as above
            over.wait()
    except FootnoteError as error:
        sys.exit(f"footnote: {error.detail}")


if __name__ == "__main__":
    main()
