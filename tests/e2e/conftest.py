"""A real `footnote up` in a process of its own, over a data directory of the test's own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import end_with_the_tests, ended

FOOTNOTE = [sys.executable, "-P", "-m", "footnote"]
SAMPLES = Path(__file__).parents[2] / "samples"
START_SECONDS = 60.0
PATIENCE = 60_000  # milliseconds that a page may take: the machine may be busy
NEEDS_SERVERS = [  # Of a module that starts the distributed mode.
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed (Debian: redis-server)"),
    pytest.mark.skipif(
        not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("initdb") is None,
        reason="PostgreSQL is not installed (Debian: postgresql)",
    ),
]


def clean_environment(**settings: str) -> dict[str, str]:
    """Return the environment without any FOOTNOTE_ setting of the caller's but the model cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    if "FOOTNOTE_CACHE" in os.environ:
        kept["FOOTNOTE_CACHE"] = os.environ["FOOTNOTE_CACHE"]
    return kept | settings


@dataclass
class Server:
    """`footnote up`, started, killed and started again by a test."""

    data: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=60))

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "test.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*FOOTNOTE, "up", "--data", str(self.data), "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.data,
                preexec_fn=end_with_the_tests,  # noqa: PLW1509 - it calls the kernel alone
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            assert self.process.poll() is None, (self.data / "test.log").read_text()
            assert time.monotonic() < deadline, (self.data / "test.log").read_text()
            time.sleep(0.02)

    def _ready(self) -> bool:
        try:
            announced = json.loads((self.data / "server.json").read_text())
            if self.process is None or announced["pid"] != self.process.pid:
                return False
            self.http.close()
            self.http = httpx.Client(
                base_url=announced["url"],
                headers={"Authorization": f"Bearer {(self.data / 'owner.key').read_text().strip()}"},
                trust_env=False,
                timeout=60,
            )
            return self.http.get("/readyz").is_success
        except (OSError, ValueError, httpx.TransportError):
            return False

    def kill(self) -> None:
        """Kill the serving process as a crash would; its worker dies with it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            ended(self.process)

    def worker_pids(self) -> list[int]:
        """Return the process ids of the living worker children."""
        assert self.process is not None
        return [pid for pid in children(self.process.pid) if "ingestion.worker" in command(pid)]

    def call(self, method: str, path: str, **arguments: Any) -> Any:  # noqa: ANN401 - JSON
        response = self.http.request(method, path, **arguments)
        assert response.is_success, response.text
        return response.json() if response.content else None


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # Threads end meanwhile.
            found += [int(child) for child in task.read_text().split()]
    return found


def command(pid: int) -> str:
    """Return the command line of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def _patient_pages() -> None:
    """What is expected of a page may take its time; that is set for a whole process, so for each test here."""
    if "playwright" in sys.modules:  # Tests that open no page need not load it.
        from playwright.sync_api import expect

        expect.set_options(timeout=PATIENCE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(data=tmp_path / "data", environment=clean_environment())
    try:
        server.start()
        yield server
    finally:
        server.stop()


def footnote(*arguments: str, data: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    chosen = [] if data is None else ["--data", str(data)]
    return subprocess.run(
        [*FOOTNOTE, *arguments, *chosen],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(**environment),
        timeout=280,
    )


def footnote_json(*arguments: str, data: Path) -> Any:  # noqa: ANN401 - JSON
    """Run the command line with `--json` and return what it printed; it must have succeeded."""
    done = footnote(*arguments, "--json", data=data)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
