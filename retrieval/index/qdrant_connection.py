"""The way to a Qdrant server: whom to trust, how long to wait, and whether it is new enough."""

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grpc import RpcError, StatusCode  # type: ignore[import-untyped]  # it ships no types
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from core.errors import IndexUnavailable, InvalidInput
from core.ids import IndexId
from retrieval.index.qdrant import PREFIX, QdrantIndex

OLDEST = (1, 19)  # The first that computes IDF over a part of a collection; older ones leave that out and say nothing.
ANSWER_SECONDS = 10  # Whoever asks hears of a server that has stalled after so long; nothing that we ask takes as much.
# A busy disk may take tens of seconds for a write. Whoever gave up sooner would write the same again, behind the first,
# and again: nothing would ever be acknowledged, though all of it is done.
WRITE_SECONDS = 60

_GRPC_PORT = 6334  # The client wants one, also where it is not used.
_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def connect(
    url: str,
    *,
    api_key: str | None,
    index_id: IndexId,
    dim: int,
    grpc_port: int | None = None,
    ca_file: Path | None = None,
    prefix: str = PREFIX,
) -> QdrantIndex:
    """Open, or make, the index on the server at this URL, a Qdrant server's or `footnote index`'s.

    With a `grpc_port` of that server gRPC is spoken instead of REST. `ca_file`: the authority that signed its
    certificate, where the machine does not know it.

    :raises InvalidInput: this is no URL, the file cannot be read, or the server says that it is older than `OLDEST`.
    :raises IndexUnavailable: the server does not answer within `ANSWER_SECONDS`, does not take a write within
        `WRITE_SECONDS`, or refuses.
    """
    # As a header, and not as `api_key`: on plain HTTP, which is right on one machine, the client would warn about that.
    headers = {} if api_key is None else {"api-key": api_key}

    def client_of(patience: int) -> QdrantClient:
        return QdrantClient(
            url=url,
            headers=headers,
            timeout=patience,
            check_compatibility=False,
            trust_env=urlsplit(url if "//" in url else f"//{url}").hostname not in _LOOPBACK,  # no proxy to ourselves
            prefer_grpc=grpc_port is not None,
            grpc_port=grpc_port or _GRPC_PORT,
            **_trust(ca_file),  # anew: the client writes into it
        )

    try:
        client, writer = client_of(ANSWER_SECONDS), client_of(WRITE_SECONDS)
    except ValueError as error:
        raise InvalidInput(f"FOOTNOTE_QDRANT_URL is {url!r}; it must be like http://127.0.0.1:6333.") from error
    try:
        _check_version(client)
        return QdrantIndex(client, index_id=index_id, dim=dim, prefix=prefix, writer=writer)
    except BaseException:
        client.close()
        writer.close()
        raise


def _check_version(client: QdrantClient) -> None:
    """Refuse a server that would weigh words over all tenants. One that does not tell its version is taken as it is.

    :raises InvalidInput: it is older than `OLDEST`.
    :raises IndexUnavailable: it does not answer.
    """
    try:
        told = client.info().version
    except (UnexpectedResponse, ResourceExhaustedResponse, ValueError):  # A proxy keeps it back, or says what it likes.
        return
    except (ApiException, RpcError) as error:
        if _answered(error):
            return
        raise IndexUnavailable("Qdrant does not answer.") from error
    found = _VERSION.match(told)
    if found is not None and (int(found[1]), int(found[2])) < OLDEST:
        raise InvalidInput(
            f"The Qdrant server is version {told}; {'.'.join(map(str, OLDEST))} or newer is needed. Nothing was "
            "changed. Upgrade the server, one minor version at a time."
        )


def _answered(error: ApiException | RpcError) -> bool:
    """Return whether something was said, if nothing that is understood."""
    if isinstance(error, RpcError):
        return error.code() not in {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}
    return isinstance(error, ResponseHandlingException) and isinstance(error.source, ValueError)


def _trust(ca_file: Path | None) -> dict[str, Any]:
    """Return what makes the client believe this authority, and no other, over REST and gRPC."""
    if ca_file is None:
        return {}
    try:
        return {
            "verify": ssl.create_default_context(cafile=ca_file),
            "grpc_options": {"root_certificates": ca_file.read_bytes()},
        }
    except OSError as error:
        raise InvalidInput(f"FOOTNOTE_QDRANT_CA_FILE {ca_file}: {error.strerror or error}.") from error
