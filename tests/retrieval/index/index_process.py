"""A real `footnote index` in a process of its own, to be killed, stalled and started again by a test."""

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.conftest import FOOTNOTE, clean_environment
from tests.processes import end_with_the_tests, ended

SECONDS = 60.0


@dataclass
class IndexProcess:
    """`footnote index` over `data`; after the first start it keeps its port, so that clients find it again."""

    data: Path
    key: str | None = None
    port: int = 0
    tls: tuple[Path, Path] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data.with_name(f"{self.data.name}.log")

    def complaints(self) -> list[str]:
        """Return the lines of the log that tell of a fault: errors, and what is not even an event, as a traceback.

        The first line is no event either: it tells where the process listens.
        """
        return [line for line in self.log.read_text().splitlines()[1:] if _complains(line)]

    def start(self) -> "IndexProcess":
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*FOOTNOTE, "index", "--data", str(self.data), "--port", str(self.port), *self._tls_options()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=clean_environment(**({} if self.key is None else {"FOOTNOTE_QDRANT_API_KEY": self.key})),
                cwd=self.data,
                preexec_fn=end_with_the_tests,  # noqa: PLW1509 - it calls the kernel alone
            )
        deadline = time.monotonic() + SECONDS
        while (told := re.search(r"https?://127\.0\.0\.1:(\d+)", self.log.read_text())) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.port = int(told[1])
        assert httpx.get(f"{self.url}/readyz", trust_env=False, verify=False, timeout=SECONDS).is_success  # noqa: S501 - ours
        return self

    def _tls_options(self) -> list[str]:
        return [] if self.tls is None else ["--tls-cert", str(self.tls[0]), "--tls-key", str(self.tls[1])]

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; return the exit code."""
        assert self.process is not None
        self.send(signal.SIGCONT)
        self.send(number)
        return ended(self.process)


def _complains(line: str) -> bool:
    try:
        return json.loads(line)["level"] in {"error", "critical"}
    except (ValueError, TypeError, KeyError):
        return True
