"""A `footnote up` of the benchmark's own, over a throw-away data directory, and clients of it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from footnote.client import Client

FOOTNOTE = [sys.executable, "-P", "-m", "footnote"]
SHARED = Path(os.environ.get("FOOTNOTE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server, the seconds it took to become ready, and a client with the owner's key."""

    data: Path
    url: str
    pid: int
    ready_seconds: float
    client: Client


def data_set(name: str) -> Path:
    """Return the folder of a data set; exits with a sentence where it is absent."""
    folder = SHARED / "data" / name
    if not folder.is_dir():
        sys.exit(f"{folder} is absent: set FOOTNOTE_SHARED to the folder that holds data/{name}.")
    return folder


@contextmanager
def served(data: Path | None = None, **settings: str) -> Iterator[Served]:
    """Start `footnote up` with these settings (upper-case names without prefix) and stop it at the end.

    Without `data` the data directory is a throw-away one.
    """
    if data is None:
        with (
            tempfile.TemporaryDirectory(prefix="footnote-benchmark-") as folder,
            served(Path(folder), **settings) as one,
        ):
            yield one
        return
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    if "FOOTNOTE_CACHE" in os.environ:
        environment["FOOTNOTE_CACHE"] = os.environ["FOOTNOTE_CACHE"]
    environment |= {f"FOOTNOTE_{name}": value for name, value in settings.items()}
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*FOOTNOTE, "up", "--data", str(data), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=environment,
        cwd=data,
    )
    try:
        while not (data / "server.json").exists():
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                sys.exit("footnote up did not start")
            time.sleep(0.01)
        url = json.loads((data / "server.json").read_text())["url"]
        key = (data / "owner.key").read_text().strip()
        client = Client(url, key)
        client.wait_until_ready()
        ready = time.monotonic() - started
        yield Served(data=data, url=url, pid=process.pid, ready_seconds=ready, client=client)
        client.close()
    finally:
        process.terminate()
        process.wait(30)
