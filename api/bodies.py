"""JSON in and out: strict bodies, problem documents for what is wrong with them, orjson for what goes out."""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import orjson
from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response

from api.errors import FieldError, InvalidFields, InvalidJson, UnsupportedMediaType, field_errors
from core.errors import InvalidInput, NotFound

CANONICAL_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Body(BaseModel):
    """A request body: unknown fields and values of the wrong type are errors, never guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Model = TypeVar("Model", bound=Body)


def read_json(model: type[Model]) -> Callable[[Request], Awaitable[Model]]:
    """Return a dependency that reads the body as `model`; to be declared after the caller, who comes first."""

    async def read(request: Request) -> Model:
        require_content_type(request, "application/json")
        return parse_json(model, await request.body())

    return read


if TYPE_CHECKING:
    JsonBody = Annotated[Model, ...]
else:

    class JsonBody:
        """`JsonBody[Model]`: a parameter read from the JSON body, strictly, by `read_json`."""

        def __class_getitem__(cls, model: type[Body]) -> object:
            return Annotated[model, Depends(read_json(model))]


def require_content_type(request: Request, expected: str) -> None:
    """Raise `UnsupportedMediaType` unless the request says that its body is of this type."""
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != expected:
        raise UnsupportedMediaType(f"Send the body as {expected}.")


def parse_json(model: type[Model], raw: bytes) -> Model:
    """Return the body as `model`; raises `InvalidJson` or `InvalidFields`."""
    try:
        value = model.model_validate_json(raw)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise InvalidJson("The body could not be read as JSON; nothing was changed.") from None
        raise InvalidFields(field_errors(found)) from None
    # NUL can stand in JSON only as this escape, and the databases we support refuse it in text.
    if rb"\u0000" in raw and _holds_nul(orjson.loads(raw)):
        raise InvalidFields([FieldError(field="body", message="NUL characters are not allowed")])
    return value


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_holds_nul(part) for part in value)
    return False


def json_response(
    value: object, *, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return the value as JSON; dataclasses, UUIDs and enums are understood."""
    return Response(orjson.dumps(value), status_code=status, media_type="application/json", headers=headers)


def no_content() -> Response:
    """Return the answer to a request that is done and has nothing to say."""
    return Response(status_code=HTTPStatus.NO_CONTENT)


def question_text(text: str, *, field: str, most: int) -> str:
    """Return the question or query, stripped; raises `InvalidFields` if blank or over `most` characters."""
    text = text.strip()
    if not text:
        raise InvalidFields([FieldError(field=field, message="must not be blank")])
    if len(text) > most:
        raise InvalidFields([FieldError(field=field, message=f"must have at most {most} characters")])
    return text


def uuid_or_absent(text: str) -> UUID:
    """Return the id; what is no id names nothing: raises `NotFound`."""
    if not CANONICAL_UUID.fullmatch(text):
        raise NotFound("no such id")
    return UUID(text)


def span_of(text: str) -> tuple[int, int]:
    """Return `a-b` as a half-open range of code points; raises `InvalidInput`."""
    match = re.fullmatch(r"(\d{1,12})-(\d{1,12})", text, re.ASCII)
    if match is None or int(match[1]) >= int(match[2]):
        raise InvalidInput("A span is two numbers START-END with START below END.")
    return int(match[1]), int(match[2])
