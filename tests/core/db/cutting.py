"""A wire to PostgreSQL that is cut at the worst moment: the commit has happened, and nobody is told."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url

_COMMIT = b"COMMIT"


class Wire:
    """Passes bytes on between clients and the server, until it is armed: then the next commit's answer is lost."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._armed = threading.Event()
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def arm(self) -> None:
        self._armed.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # until it is closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            committing = False
            with contextlib.suppress(OSError):
                while True:
                    for ready in select.select([client, server], [], [])[0]:
                        data = ready.recv(1 << 16)
                        if not data:
                            return
                        if ready is server and committing:
                            self.cuts += 1  # The server has answered, so it is done; the answer goes nowhere.
                            return
                        if ready is client and self._armed.is_set() and _COMMIT in data:
                            committing = True
                            self._armed.clear()
                        (server if ready is client else client).sendall(data)


@contextmanager
def wire_to(url: str) -> Iterator[tuple[Wire, str]]:
    """Yield a wire to the server of this URL, and the URL that leads through it."""
    parsed = make_url(url)
    wire = Wire(parsed.port or 5432)
    try:
        yield wire, parsed.set(port=wire.port, query={"sslmode": "disable"}).render_as_string(hide_password=False)
    finally:
        wire.close()
