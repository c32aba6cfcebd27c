"""How an answer can end before it is done. Each is the data of an `error` event."""

from http import HTTPStatus

from core.errors import FootnoteError


class Stopped(FootnoteError):
    """The answer was stopped before it was finished; what was said stays in the log."""

    code = "stopped"
    status = HTTPStatus.CONFLICT
    title = "The answer was stopped"


class Interrupted(FootnoteError):
    """The process that generated the answer ended; the question can be asked again."""

    code = "interrupted"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "The answer was interrupted"
    retryable = True


class Withheld(FootnoteError):
    """The answer quotes documents that the reader may no longer read."""

    code = "withheld"
    status = HTTPStatus.NOT_FOUND
    title = "No longer available"
