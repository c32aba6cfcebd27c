"""What every request passes through: its id and log line, the security headers, the Host check, and body limits."""

import time
from collections.abc import Collection

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import FieldError, HostNotAllowed, InvalidFields, render, render_unexpected
from api.metrics import RequestMetrics
from core.errors import FootnoteError, PayloadTooLarge
from core.ids import uuid7

log = structlog.get_logger(__name__)

CLIENT_GONE = 499  # nginx's number for it: no answer was wanted any more
MULTIPART_OVERHEAD = 1_000_000  # fields and boundaries of an upload, beside the file itself

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "font-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: browsers would then send `Origin: null` with the sign-in form, and it could not be checked.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestContext:
    """Gives each request an id, logs and counts it, sets the security headers, and answers what nobody expected.

    Logs carry the route's template, never its path or query: both may hold what a user typed.
    """

    def __init__(self, app: ASGIApp, *, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["footnote.request_id"] = str(uuid7())
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except ClientDisconnect:
                status = status or CLIENT_GONE
            except Exception as error:  # noqa: BLE001 - the last line of defence: whatever it is, the service goes on
                # The traceback's messages may quote a document: its type and place are enough to find it.
                log.error("request_failed", error=type(error).__name__, at=_place(error))  # noqa: TRY400 - as said
                if status == 0:
                    await render_unexpected(request_id)(scope, receive, send_with_headers)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "unmatched")
                method = scope["method"]
                self._metrics.observe(method=method, route=route, status=status, seconds=seconds)
                log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


def _place(error: BaseException) -> str:
    """Return the innermost frames as file:line, outermost first."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}:{code.co_name}")
        trace = trace.tb_next
    return " > ".join(frames[-6:])


class RequestGuard:
    """Turns away what no route should see: foreign Host headers, NUL bytes, bodies beyond the limit."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: str,
        max_request_bytes: int,
        max_upload_bytes: int,
        uploads: Collection[str],
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.strip().lower() for host in allowed_hosts.split(",") if host.strip())
        self._max_request_bytes = max_request_bytes
        self._max_upload_bytes = max_upload_bytes
        self._uploads = frozenset(uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except FootnoteError as error:
            await render(error, scope["footnote.request_id"])(scope, receive, send)
            return
        await self._app(scope, self._limited(receive, self._limit(scope)), send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if "*" not in self._hosts and host_name(headers.get("host", "")) not in self._hosts:
            raise HostNotAllowed("Use one of the host names in the setting allowed_hosts.")
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            raise InvalidFields([FieldError(field="url", message="NUL characters are not allowed")])
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit(scope):
            raise too_large(self._limit(scope))

    def _limit(self, scope: Scope) -> int:
        if scope["path"] in self._uploads:
            return self._max_upload_bytes + MULTIPART_OVERHEAD
        return self._max_request_bytes

    @staticmethod
    def _limited(receive: Receive, limit: int) -> Receive:
        """Count while streaming: a chunked body declares no length."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    raise too_large(limit)
            return message

        return counted


def too_large(limit: int) -> PayloadTooLarge:
    """Return the error for a body of more than `limit` bytes."""
    return PayloadTooLarge(f"The request body is larger than {limit} bytes; nothing was kept.")


def host_name(header: str) -> str:
    """Return the Host header's name without its port, in lower case; an IPv6 address keeps its brackets."""
    header = header.strip().lower()
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]
