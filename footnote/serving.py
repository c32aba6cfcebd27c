"""Runs the HTTP server over an open data directory: for good (`up`), or for the length of one command."""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvicorn

from api.app import create_app
from core.errors import Unavailable
from core.settings import Settings
from footnote.listening import OrderlyServer, listen, url_of, when_started
from footnote.runtime import Runtime, open_runtime

START_SECONDS = 60.0
SWITCH_SECONDS = 0.0005


def serve(settings: Settings, host: str, port: int, *, started: Callable[[Runtime, str], None]) -> None:
    """Hold the data directory and serve until interrupted; `started` is called once requests are answered.

    :raises Unavailable: the address is taken.
    :raises DataDirectoryInUse: another process holds the directory.
    """
    with listen(host, port) as listener:
        url = url_of(host, listener.getsockname()[1])
        _serve(_reached_at(settings, url), url, listener, started)


def _serve(settings: Settings, url: str, listener: socket.socket, started: Callable[[Runtime, str], None]) -> None:
    with open_runtime(settings) as runtime:
        server = _server(runtime)
        # A question gives the interpreter away some forty times, at each statement and each wait: beside a thread that
        # computes, such as the one that fills the index, it would wait for 5 ms each time.
        sys.setswitchinterval(SWITCH_SECONDS)
        runtime.directory.announce(url)
        try:
            when_started(server, lambda: started(runtime, url))
            server.run(sockets=[listener])
        finally:
            runtime.directory.withdraw()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """A server inside this process."""

    url: str
    runtime: Runtime


@contextmanager
def serving(settings: Settings) -> Iterator[LocalServer]:
    """Hold the data directory and serve on a free loopback port until the block ends."""
    with listen("127.0.0.1", 0) as listener, open_runtime(settings) as runtime:
        url = url_of("127.0.0.1", listener.getsockname()[1])
        server = _server(runtime)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http-server", daemon=True)
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise Unavailable("The local server did not start; run `footnote doctor` to see why.")
            time.sleep(0.01)
        runtime.directory.announce(url)
        try:
            yield LocalServer(url=url, runtime=runtime)
        finally:
            runtime.directory.withdraw()
            server.should_exit = True
            thread.join()


def _server(runtime: Runtime) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(runtime.services),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
    )
    return OrderlyServer(config)


def _reached_at(settings: Settings, url: str) -> Settings:
    """Return the settings with the host that we announce among those that are served."""
    host = urlsplit(url).netloc.rpartition(":")[0]
    return settings.model_copy(update={"allowed_hosts": f"{settings.allowed_hosts},{host}"})
