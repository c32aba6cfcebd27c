"""Why a request is not answered, with the status that a Qdrant server gives."""

from http import HTTPStatus


class Refusal(Exception):
    """The request is not done. The message is a sentence for whoever sent it."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class EngineFailed(Refusal):
    """The engine did not do it; what was acknowledged before is kept."""


class Malformed(Refusal):
    """No request of this route, or one that does not fit the collection; nothing was changed."""

    status = HTTPStatus.BAD_REQUEST


class Unacceptable(Refusal):
    """A well-formed request with a value out of its range; nothing was changed."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class TooLarge(Refusal):
    """More bytes than one request may have; nothing was changed."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotAllowed(Refusal):
    """No key, or a wrong one."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self) -> None:
        super().__init__("Must provide the API key (FOOTNOTE_QDRANT_API_KEY) in the header `api-key`.")


class NotHere(Refusal):
    """A request for another host than this machine, of a service that asks for no key."""

    status = HTTPStatus.MISDIRECTED_REQUEST

    def __init__(self) -> None:
        super().__init__("Without an API key only requests to 127.0.0.1, localhost or [::1] are answered.")


class NoCollection(Refusal):
    """There is no such collection."""

    status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str) -> None:
        super().__init__(f"Not found: Collection `{name}` doesn't exist!")


class CollectionExists(Refusal):
    """The collection is there already; it was not changed."""

    status = HTTPStatus.CONFLICT

    def __init__(self, name: str) -> None:
        super().__init__(f"Wrong input: Collection `{name}` already exists!")


class NotSupported(Refusal):
    """A Qdrant server could; nothing was changed."""

    status = HTTPStatus.NOT_IMPLEMENTED

    def __init__(self, what: str) -> None:
        super().__init__(f"`footnote index` does not support {what}; a Qdrant server does. Nothing was changed.")
