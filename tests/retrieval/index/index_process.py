"""A real `footnote index` in a process of its own, to be killed, stalled and started again by a test."""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.conftest import FOOTNOTE, clean_environment

SECONDS = 60.0


@dataclass
class IndexProcess:
    """`footnote index` over `data`; after the first start it keeps its port, so that clients find it again."""

    data: Path
    key: str | None = None
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.data.with_name(f"{self.data.name}.log")

    def start(self) -> "IndexProcess":
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*FOOTNOTE, "index", "--data", str(self.data), "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=clean_environment(**({} if self.key is None else {"FOOTNOTE_QDRANT_API_KEY": self.key})),
                cwd=self.data,
            )
        deadline = time.monotonic() + SECONDS
        while (told := re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text())) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.port = int(told[1])
        assert httpx.get(f"{self.url}/readyz", trust_env=False).is_success
        return self

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; return the exit code."""
        assert self.process is not None
        self.send(signal.SIGCONT)
        self.send(number)
        return self.process.wait(SECONDS)
