"""Who may ask, and how an answer is put."""

import hmac
from http import HTTPStatus

import orjson
from qdrant_client.http import models
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from retrieval.index.service.refusals import NotAllowed, NotHere, Refusal

OPEN = ("/", "/healthz", "/livez", "/readyz")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Guard:
    """Asks every request but the probes for the key; without a key, for a loopback name in `Host`."""

    def __init__(self, app: ASGIApp, *, api_key: str | None) -> None:
        self._app = app
        self._key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope) if scope["type"] == "http" else None
        await (self._app if refused is None else refusal(refused, seconds=0.0))(scope, receive, send)

    def _refused(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        if self._key is None:
            return None if _without_port(headers.get("host", "")) in LOOPBACK else NotHere()
        if scope["path"] in OPEN or hmac.compare_digest(headers.get("api-key", "").encode(), self._key):
            return None
        return NotAllowed()


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host


def answer(content: object, status: HTTPStatus) -> Response:
    """Return the answer as JSON."""
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


def refusal(error: Refusal, *, seconds: float) -> Response:
    """Return the refusal in the form of a Qdrant server."""
    told = models.ErrorResponse(time=seconds, status=models.ErrorResponseStatus(error=str(error)))
    return answer(told.model_dump(exclude_none=True), error.status)
