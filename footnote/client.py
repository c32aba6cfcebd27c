"""How commands reach Footnote: over HTTP, to the server that holds the data directory or to one of their own."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from core.errors import DataDirectoryInUse, FootnoteError, Unauthenticated, Unavailable
from core.settings import Settings
from footnote.datadir import DataDirectory, ServerAddress

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
MOVING_SECONDS = 1.0
TIMEOUT = httpx.Timeout(60.0, read=300.0)


class Problem(FootnoteError):
    """The server answered with a problem document, kept whole for `--json`."""

    def __init__(self, body: dict[str, Any], status: int) -> None:
        super().__init__(str(body.get("detail") or body.get("title") or f"The server answered {status}."))
        self.body = body
        self.status_code = status
        self.code = str(body.get("code", "internal"))


class Client:
    """One command's connection. Every call returns the parsed JSON or raises `Problem`.

    `locate` tells where the server is now: a command that served the data directory to itself may end, and take its
    server with it, while another one speaks to it.
    """

    def __init__(
        self, url: str, key: str | None, *, read_as: str | None = None, locate: Callable[[], str] | None = None
    ) -> None:
        headers = {b"Accept": b"application/json"}
        if key:
            headers[b"Authorization"] = f"Bearer {key.strip()}".encode()
        if read_as:
            headers[b"X-Footnote-As"] = read_as.encode()  # Names need not be ASCII.
        self._locate = locate
        self._moving = threading.Lock()
        self.http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)

    @property
    def url(self) -> str:
        """Where the server answers."""
        return str(self.http.base_url).rstrip("/")

    def call(self, method: str, path: str, *, repeatable: bool = False, **arguments: Any) -> Any:  # noqa: ANN401 - JSON
        """Send a request; return its JSON answer, None where there is no body.

        A request that did not reach the server, or that is repeatable, is sent again: to the server that has taken
        this one's place, or once to the same.
        """
        tried = 0
        while True:
            url = self.url
            try:
                return read(self.http.request(method, path, **arguments))
            except httpx.TransportError as error:
                again = repeatable or method == "GET" or isinstance(error, httpx.ConnectError)
                if isinstance(error, httpx.TimeoutException) or not again or not (self.move(url) or tried == 0):
                    raise Unavailable(f"The server at {url} did not answer ({error}). Is it running?") from error
                tried += 1

    def move(self, url: str) -> bool:
        """Turn to the server that has taken this one's place; return whether there is another."""
        deadline = time.monotonic() + MOVING_SECONDS
        with self._moving:  # Of several threads one finds out; the others see where it went.
            while self._locate is not None and self.url == url:
                self.http.base_url = self._locate()
                if self.url != url or time.monotonic() > deadline:
                    break
                time.sleep(POLL_SECONDS)  # What was killed still holds the directory for a moment.
            return self.url != url

    def wait_until_ready(self) -> None:
        """Return once `/readyz` says yes; raises `Unavailable` after 60 s, `Problem` if we are refused."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            url = self.url
            try:
                response = self.http.get("/readyz")
                if response.is_success:
                    return
                if response.is_client_error:  # It will say so however long we wait.
                    read(response)
            except httpx.TransportError:
                self.move(url)
            if time.monotonic() > deadline:
                raise Unavailable(f"The server at {self.url} was not ready within {READY_SECONDS:.0f} s.")
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        self.http.close()


def read(response: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON of a successful response; raises `Problem` otherwise."""
    try:
        body = response.json() if response.content else None
    except ValueError:
        body = None
    if response.is_success:
        return body
    if not isinstance(body, dict):
        body = {"title": response.reason_phrase, "status": response.status_code, "code": "internal"}
    raise Problem(body, response.status_code)


@contextmanager
def connect(data: Path | None, *, read_as: str | None = None) -> Iterator[Client]:
    """Yield a client for the data directory, or for `$FOOTNOTE_URL` where no directory is named.

    Without a server that holds the directory, this process opens it and serves it to itself until the block ends.
    """
    settings = Settings() if data is None else Settings(data=data)
    if data is None and settings.url:
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        if not key:
            raise Unauthenticated("FOOTNOTE_URL is set; set FOOTNOTE_API_KEY to a key of that server, too.")
        yield from _ready(Client(settings.url, key, read_as=read_as))
        return
    directory = DataDirectory(settings.data.absolute())
    with ExitStack() as stack:

        def locate() -> str:
            deadline = time.monotonic() + READY_SECONDS
            while True:
                server = directory.server()
                if server is not None:
                    return server.url
                try:
                    return stack.enter_context(_own_server(settings)).url
                except DataDirectoryInUse:  # Its holder is still starting, or just ending.
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(POLL_SECONDS)

        url = locate()
        yield from _ready(Client(url, directory.owner_key(), read_as=read_as, locate=locate))


@contextmanager
def _own_server(settings: Settings) -> Iterator[ServerAddress]:
    from core.observability import configure_logging  # noqa: PLC0415 - only a command that serves itself needs it all
    from footnote.serving import serving  # noqa: PLC0415 - the same

    configure_logging(settings.log_level)
    with serving(settings) as local:
        yield ServerAddress(url=local.url, pid=os.getpid())


def _ready(client: Client) -> Iterator[Client]:
    try:
        client.wait_until_ready()
        yield client
    finally:
        client.close()
