"""Problem documents (RFC 9457): the only place that turns an error into HTTP."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from core.errors import FootnoteError, InvalidInput, NotFound, Unauthenticated

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
ABSENT = "There is no such thing, or none that you may know of."
MALFORMED = "One or more fields are missing or not valid; nothing was changed."


class InvalidJson(FootnoteError):
    """The body is not JSON."""

    code = "invalid_json"
    status = HTTPStatus.BAD_REQUEST
    title = "The body is not valid JSON"


class InvalidUpload(FootnoteError):
    """The body is not the multipart form that an upload is."""

    code = "invalid_upload"
    status = HTTPStatus.BAD_REQUEST
    title = "The upload is not valid"


class UnsupportedMediaType(FootnoteError):
    """The body's content type is not the one this route reads."""

    code = "unsupported_media_type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    title = "Wrong content type"


class HostNotAllowed(FootnoteError):
    """The Host header is not one this server answers to (DNS rebinding would use such a name)."""

    code = "host_not_allowed"
    status = HTTPStatus.MISDIRECTED_REQUEST
    title = "This host name is not served"


class CsrfFailed(FootnoteError):
    """A browser session sent a changing request without its CSRF token."""

    code = "csrf_failed"
    status = HTTPStatus.FORBIDDEN
    title = "The CSRF token is missing or wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """What is wrong with one field; the value itself is never repeated."""

    field: str
    message: str


class InvalidFields(InvalidInput):
    """The request is malformed in these fields."""

    def __init__(self, fields: Sequence[FieldError]) -> None:
        super().__init__(MALFORMED)
        self.fields = tuple(fields)


# When to try again, for errors that do not know better: what is overloaded or away may be back soon, a full disk not.
RETRY_AFTER_SECONDS = {
    HTTPStatus.TOO_MANY_REQUESTS: 5.0,
    HTTPStatus.SERVICE_UNAVAILABLE: 5.0,
    HTTPStatus.INSUFFICIENT_STORAGE: 60.0,
}

# Starlette's own errors carry a status alone; these are the codes that clients see for them.
HTTP_CODES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.NOT_FOUND: NotFound.code,
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
}


def problem(
    *,
    status: HTTPStatus,
    code: str,
    title: str,
    detail: str,
    request_id: str,
    fields: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the problem document as a response."""
    body: dict[str, Any] = {
        "type": f"urn:footnote:problem:{code}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    if fields:
        body["errors"] = [{"field": field.field, "message": field.message} for field in fields]
    return Response(orjson.dumps(body), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def render(error: FootnoteError, request_id: str) -> Response:
    """Return the error as a problem document.

    What is absent and what may not be known of answer alike, whatever the sentence where it was raised.
    """
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="footnote"'
    seconds = RETRY_AFTER_SECONDS.get(error.status) if error.retry_after is None else error.retry_after
    if seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    hidden = isinstance(error, NotFound)
    return problem(
        status=error.status,
        code=NotFound.code if hidden else error.code,
        title=NotFound.title if hidden else error.title,
        detail=ABSENT if hidden else error.detail,
        request_id=request_id,
        fields=error.fields if isinstance(error, InvalidFields) else (),
        headers=headers,
    )


def render_unexpected(request_id: str) -> Response:
    """Return the one answer to everything that nobody expected; what happened is in the log under the request id."""
    return problem(
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        code=FootnoteError.code,
        title=FootnoteError.title,
        detail="An unexpected error happened and was logged. Name the request id when you report it.",
        request_id=request_id,
    )


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Return pydantic's findings without the offending values, which may be somebody's text."""
    return [
        FieldError(
            field=".".join(str(part) for part in error["loc"]) or "body",
            message=str(error["msg"]),
        )
        for error in errors
    ]


def request_id_of(request: Request) -> str:
    """Return the id that the middleware gave this request."""
    return str(request.scope.get("footnote.request_id", "-"))


def install(app: FastAPI) -> None:
    """Register the handlers. Unexpected errors are caught further out, by the middleware."""

    async def on_footnote_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, FootnoteError)  # noqa: S101 - registered for this class alone
        return render(error, request_id_of(request))

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        found = [{**one, "loc": one["loc"][1:]} for one in error.errors()]  # the first part says "query" or "header"
        return render(InvalidFields(field_errors(found)), request_id_of(request))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
        request_id = request_id_of(request)
        status = HTTPStatus(error.status_code)
        if status is HTTPStatus.NOT_FOUND:
            return render(NotFound(ABSENT), request_id)
        code = HTTP_CODES.get(status, "http_error")
        return problem(
            status=status,
            code=code,
            title=status.phrase,
            detail=status.description or status.phrase,
            request_id=request_id,
            headers=error.headers,
        )

    # RequestValidationError only: a ValidationError of our own making is a bug, and a bug is a 500.
    app.add_exception_handler(FootnoteError, on_footnote_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)
