"""Runs the HTTP server over an open data directory: for good (`up`), or for the length of one command."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from api.app import create_app
from core.errors import Unavailable
from core.settings import Settings
from footnote.runtime import Runtime, open_runtime

START_SECONDS = 60.0


def serve(settings: Settings, host: str, port: int, *, started: Callable[[Runtime, str], None]) -> None:
    """Hold the data directory and serve until interrupted; `started` is called once requests are answered.

    :raises Unavailable: the address is taken.
    :raises DataDirectoryInUse: another process holds the directory.
    """
    with _listen(host, port) as listener, open_runtime(settings) as runtime:
        url = _url(host, listener.getsockname()[1])
        server = _server(runtime)
        runtime.directory.announce(url)
        try:
            _when_started(server, lambda: started(runtime, url))
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
    with _listen("127.0.0.1", 0) as listener, open_runtime(settings) as runtime:
        url = _url("127.0.0.1", listener.getsockname()[1])
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


class _Server(uvicorn.Server):
    """Ends in order on SIGINT and SIGTERM: uvicorn's own would raise the signal again before we have put away ours."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _server(runtime: Runtime) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(runtime.services),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
    )
    return _Server(config)


def _when_started(server: uvicorn.Server, call: Callable[[], None]) -> None:
    def wait() -> None:
        while not server.started and not server.should_exit:
            time.sleep(0.01)
        if server.started:
            call()

    threading.Thread(target=wait, name="startup-notice", daemon=True).start()


def _listen(host: str, port: int) -> socket.socket:
    """Listen before anything slow is done, so that a taken port is told at once and never costs an open directory."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: without, every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # Only this makes the port ours: to bind alone, several may.
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"Port {port} on {host} cannot be used ({error.strerror}); nothing was started. Choose another --port."
        ) from error
    return listener


def _url(host: str, port: int) -> str:
    """Return where this machine reaches the server: one that listens everywhere also listens on the loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
