"""One tree of errors. Each says what happened, what was kept and what to do next; only the edge turns it into HTTP.

`code` is stable: clients may rely on it. An error about something the asker may not read is `NotFound`, word for word
as if the thing did not exist.
"""

from http import HTTPStatus


class FootnoteError(Exception):
    """Something went wrong that somebody can act on. `detail` is a sentence for that person."""

    code = "internal"
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    title = "Something went wrong"
    retryable = False

    def __init__(self, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class InvalidInput(FootnoteError):
    """The request is malformed; nothing was changed."""

    code = "invalid_input"
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "The request is not valid"


class InvalidName(InvalidInput):
    """A document or folder name that no file system path could safely mean."""

    code = "invalid_name"
    title = "The name is not valid"


class PayloadTooLarge(FootnoteError):
    """More bytes than the settings allow; nothing was kept."""

    code = "too_large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "Too large"


class Unauthenticated(FootnoteError):
    """No key, an unknown one, or one that has expired or been revoked."""

    code = "unauthenticated"
    status = HTTPStatus.UNAUTHORIZED
    title = "A valid API key is needed"


class Forbidden(FootnoteError):
    """The caller is known, but the role or scope does not include the verb."""

    code = "forbidden"
    status = HTTPStatus.FORBIDDEN
    title = "Not allowed"


class NotFound(FootnoteError):
    """There is no such thing, or none that the caller may know of: the two are never told apart."""

    code = "not_found"
    status = HTTPStatus.NOT_FOUND
    title = "Not found"


class Conflict(FootnoteError):
    """The thing exists already, or changed meanwhile; nothing was changed."""

    code = "conflict"
    status = HTTPStatus.CONFLICT
    title = "Conflict"


class StorageFull(FootnoteError):
    """The disk did not take the bytes; nothing was accepted."""

    code = "storage_full"
    status = HTTPStatus.INSUFFICIENT_STORAGE
    title = "No space left"
    retryable = True


class Unavailable(FootnoteError):
    """A part that is needed does not answer now; nothing was lost, try again."""

    code = "unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Not available now"
    retryable = True


class IndexUnavailable(Unavailable):
    """The vector index did not answer."""

    code = "index_unavailable"


class ModelUnavailable(Unavailable):
    """The chat or embedding model did not answer."""

    code = "model_unavailable"


class DataDirectoryInUse(FootnoteError):
    """Another process owns the data directory."""

    code = "data_directory_in_use"
    status = HTTPStatus.CONFLICT
    title = "The data directory is in use"


class LeaseLost(FootnoteError):
    """The stage was taken over by another worker; this attempt's result is dropped, the other one's counts."""

    code = "lease_lost"
    status = HTTPStatus.CONFLICT
    title = "The lease was lost"
