"""Reading an upload: a multipart form with one file, spooled to disk, and a few text fields."""

import errno
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.bodies import require_content_type
from api.errors import FieldError, InvalidFields, InvalidUpload
from core.errors import FootnoteError, StorageFull

FIELDS = frozenset({"name", "source", "allow", "deny"})
MOST_FIELDS = 2_000
MOST_FIELD_BYTES = 16_384
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadForm:
    """An upload as sent. `file` is spooled, at its start, and for the receiver to close."""

    file: BinaryIO
    filename: str
    name: str | None
    source: str | None
    allow: tuple[str, ...]
    deny: tuple[str, ...]


class _WholeForm(MultiPartParser):
    """Knows whether the form was complete: a field cut off at the end (say, a deny) must not go unnoticed."""

    complete = False

    def on_end(self) -> None:
        self.complete = True


async def read_upload(request: Request) -> UploadForm:
    """Return the upload.

    Raises `UnsupportedMediaType`, `InvalidUpload`, `InvalidFields`, `PayloadTooLarge` or `StorageFull`.
    """
    require_content_type(request, "multipart/form-data")
    stream: AsyncGenerator[bytes, None] = request.stream()
    parser = _WholeForm(request.headers, stream, max_files=1, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidUpload(f"The form could not be read: {error.message} Nothing was kept.") from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageFull(
            "There is no room to receive the file; nothing was kept. Free space and send it again."
        ) from error
    sent = form.multi_items()
    try:
        return _checked(sent, complete=parser.complete)
    except FootnoteError:
        for _, value in sent:
            if isinstance(value, UploadFile):
                value.file.close()
        raise


def _checked(sent: list[tuple[str, UploadFile | str]], *, complete: bool) -> UploadForm:
    if not complete:
        raise InvalidUpload("The form ends before its closing boundary. Nothing was kept.")
    values: dict[str, list[str]] = {field: [] for field in FIELDS}
    wrong: list[FieldError] = []
    file: UploadFile | None = None
    for field, value in sent:
        if isinstance(value, UploadFile):
            file = value
        mistake = _mistake(field, value)
        if mistake is not None:
            wrong.append(FieldError(field=field[:64], message=mistake))
        elif isinstance(value, str):
            values[field].append(value)
    twice = [field for field in ("name", "source") if len(values[field]) > 1]
    wrong.extend(FieldError(field=field, message="may be given once") for field in twice)
    if file is None:
        raise InvalidFields([*wrong, FieldError(field="file", message="is missing")])
    if wrong:
        raise InvalidFields(wrong)
    return UploadForm(
        file=file.file,
        filename=base_name(file.filename or ""),
        name=next(iter(values["name"]), None),
        source=next(iter(values["source"]), None),
        allow=tuple(values["allow"]),
        deny=tuple(values["deny"]),
    )


def _mistake(field: str, value: UploadFile | str) -> str | None:
    if isinstance(value, UploadFile):
        return None if field == "file" else "is not a file; the file's field is called `file`"
    if field not in FIELDS:
        return "is not a field of an upload"
    return "must not hold NUL characters" if "\0" in value else None


def base_name(filename: str) -> str:
    """Return the last part of the name a browser sends, which may be a path of either kind of system."""
    return filename.replace("\\", "/").rsplit("/", 1)[-1]
