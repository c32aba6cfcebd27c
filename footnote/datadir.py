"""The data directory of the embedded mode: who holds it, where its server listens, and the owner's key."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataDirectoryInUse, StorageFull

LOCK_SECONDS = 0.5  # Those who only look whether it is held have the lock for a moment, too.


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where the process that holds a data directory answers."""

    url: str
    pid: int


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """Paths and ownership of one data directory."""

    path: Path

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def indexes(self) -> Path:
        return self.path / "index"

    @property
    def temporary(self) -> Path:
        return self.path / "tmp"

    @property
    def worker_log(self) -> Path:
        return self.path / "worker.log"

    def create(self) -> None:
        """Make the directory, for its owner alone.

        :raises StorageFull: the path cannot be made or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.blobs, self.indexes, self.temporary):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageFull(f"The data directory {self.path} cannot be made: {error.strerror}.") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory alone, until the block ends or the process dies.

        :raises DataDirectoryInUse: another process holds it.
        """
        self.create()
        with (self.path / "lock").open("a+b") as lock:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise DataDirectoryInUse(
                            f"Another process holds the data directory {self.path}. Stop it, or use another --data."
                        ) from error
                time.sleep(0.02)
            self.withdraw()  # What a holder that was killed has announced.
            yield

    def announce(self, url: str) -> None:
        """Tell other commands where this process answers."""
        self._write("server.json", json.dumps({"url": url, "pid": os.getpid()}) + "\n")

    def withdraw(self) -> None:
        """Take the announcement back."""
        (self.path / "server.json").unlink(missing_ok=True)

    def server(self) -> ServerAddress | None:
        """Return where the directory's server answers, or None where no process holds the directory."""
        try:
            data = json.loads((self.path / "server.json").read_text())
            address = ServerAddress(url=str(data["url"]), pid=int(data["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return address if self.is_held() else None

    def is_held(self) -> bool:
        """Tell whether a process holds the directory; the announcement of one that was killed may still be there."""
        try:
            with (self.path / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def owner_key(self) -> str | None:
        """Return the owner's API key, or None before the first start."""
        try:
            return (self.path / "owner.key").read_text().strip() or None
        except FileNotFoundError:
            return None

    def write_owner_key(self, secret: str) -> None:
        """Keep the owner's API key, readable by the owner alone."""
        self._write("owner.key", secret + "\n")

    def _write(self, name: str, text: str) -> None:
        temporary = self.temporary / f"write-{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)
