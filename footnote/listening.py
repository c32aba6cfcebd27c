"""A port of our own, and a server on it that ends in order."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from core.errors import Unavailable


class OrderlyServer(uvicorn.Server):
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


def when_started(server: uvicorn.Server, call: Callable[[], None]) -> None:
    """Call once the server answers, from a thread of its own; never, if it ends before."""

    def wait() -> None:
        while not server.started and not server.should_exit:
            time.sleep(0.01)
        if server.started:
            call()

    threading.Thread(target=wait, name="startup-notice", daemon=True).start()


def listen(host: str, port: int) -> socket.socket:
    """Listen before anything slow is done, so that a taken port is told at once and never costs an open directory.

    :raises Unavailable: the address is taken.
    """
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


def url_of(host: str, port: int, *, scheme: str = "http") -> str:
    """Return where this machine reaches the server: one that listens everywhere also listens on the loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
