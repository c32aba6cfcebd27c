"""A real HTTP server before an index, as a proxy before Qdrant is: it passes requests on, or says it is too busy."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx


@dataclass
class Gateway:
    """While `status` is set, every request is answered with it, and with `retry_after` where that is not None.

    `version`: what it answers where it is asked for the version, in the index's place.
    """

    behind: str
    status: int | None = None
    retry_after: str | None = None
    version: bytes | None = None
    refused: int = 0
    server: ThreadingHTTPServer = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def gateway(behind: str) -> Iterator[Gateway]:
    """Yield a gateway to the index at that URL."""
    found = Gateway(behind)
    found.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    thread = Thread(target=found.server.serve_forever, name="gateway")
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        thread.join()
        found.server.server_close()


def _handler(gate: Gateway) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if gate.status is not None:
                gate.refused += 1
                asked = {} if gate.retry_after is None else {"Retry-After": gate.retry_after}
                self._send(gate.status, b'{"status":{"error":"too many requests"}}', asked)
                return
            if gate.version is not None and self.path == "/":
                self._send(200, gate.version, {})
                return
            response = httpx.request(
                self.command,
                gate.behind + self.path,
                content=body,
                headers={"Content-Type": "application/json"},
                trust_env=False,
                timeout=60,  # A slow index is no bad gateway.
            )
            self._send(response.status_code, response.content, {})

        do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the names that the base class calls

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    return Handler
