"""A small organisation behind a real socket, taking documents in by itself, and the command line in this process."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn

from core.db.session import Database
from core.domain import DocumentState
from footnote.cli.main import main
from footnote.client import Client
from footnote.listening import listen
from ingestion.leases import HeldLeases
from ingestion.pipeline import IngestionPipeline
from tests.api.house import House
from tests.ingestion.works import PlainParser

POLL_SECONDS = 0.02


class Branch(House):
    """The house with the real pipeline, run by a thread that is woken by uploads."""

    def __init__(self, database: Database, folder: Path, **settings: object) -> None:
        super().__init__(database, folder, **settings)
        self.parser = PlainParser()
        self._closed = False
        self._working = threading.Lock()
        self._pipeline = IngestionPipeline(
            database=database,
            blobs=self.blobs,
            parser=self.parser,
            embedder=lambda: self.embedder,
            held=HeldLeases(database),
            owner="branch",
            parsers=1,
            chunk_tokens=64,
            chunk_overlap_tokens=0,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="branch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._pipeline.close()

    @property
    def closed(self) -> bool:
        """Whether the thread is kept from working. Whoever sets it waits for the work under way to end."""
        return self._closed

    @closed.setter
    def closed(self, value: bool) -> None:
        with self._working:
            self._closed = value

    def _serve(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            with self._working:
                if not self._closed:
                    self.work()

    def work(self) -> None:
        while any((self._pipeline.run_parse(), self._pipeline.run_chunk(), self._pipeline.run_embed())):
            pass
        self.loop.run_once()
        self.auditor.step()


@contextlib.contextmanager
def served(branch: Branch) -> Iterator[str]:
    """Yield the URL under which the branch answers."""
    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(branch.app(), log_config=None, access_log=False, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http-server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@dataclass(frozen=True)
class Done:
    """What a command left: exit code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The one JSON object on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)


@dataclass(frozen=True)
class CommandLine:
    """Runs `footnote …` against the branch as somebody."""

    branch: Branch
    url: str
    patch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, user: str = "owner") -> Done:
        self.patch.setenv("FOOTNOTE_URL", self.url)
        self.patch.setenv("FOOTNOTE_API_KEY", self.branch.secrets[user])
        self.capsys.readouterr()
        code = run_main(self.patch, arguments)
        captured = self.capsys.readouterr()
        return Done(code=code, out=captured.out, err=captured.err)

    def json(self, *arguments: str, user: str = "owner") -> Any:  # noqa: ANN401 - JSON
        """Run with `--json`; it must succeed."""
        done = self(*arguments, "--json", user=user)
        assert done.code == 0, done.out + done.err
        return done.json

    def finds(self, query: str, user: str) -> bool:
        """Whether the user finds something once the index has heard of a new right."""
        deadline = time.monotonic() + 60
        while not (hits := self.json("search", query, user=user)["hits"]) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return bool(hits)

    def client(self, user: str = "owner") -> contextlib.closing[Client]:
        return contextlib.closing(Client(self.url, self.branch.secrets[user]))

    def take_in(self, text: str, name: str, *, user: str = "owner", allow: Sequence[str] = ()) -> str:
        """Upload a text and wait until it can be searched; return the document's id."""
        with self.client(user) as client:
            data = {"name": name, "source": "shelf", "allow": list(allow)}
            answer = client.call("POST", "/v1/documents", data=data, files={"file": text.encode()})
            document = str(answer["documents"][0]["document"])
            while (state := client.call("GET", f"/v1/documents/{document}")["state"]) != DocumentState.SEARCHABLE:
                assert state != DocumentState.FAILED
                time.sleep(POLL_SECONDS)
        return document


def run_main(patch: pytest.MonkeyPatch, arguments: Sequence[str]) -> int:
    """Run the command line in this process; return its exit code."""
    patch.setattr(sys, "argv", ["footnote", *arguments])
    try:
        main()
    except SystemExit as leaving:
        return 0 if leaving.code is None else int(leaving.code)
    return 0
