"""Runs `footnote index`: the search indexes of a data directory for several processes, over Qdrant's REST calls."""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from core.errors import InvalidInput
from core.settings import Settings
from footnote.listening import OrderlyServer, listen, url_of, when_started
from retrieval.factory import open_index_service

MOST_REQUESTS = 256  # At a time; more are answered 503 at once instead of filling the memory with their bodies.
ENDING_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files of a certificate chain and its private key."""

    certificate: Path
    key: Path


def serve_index(
    settings: Settings, host: str, port: int, *, started: Callable[[str], None], tls: Tls | None = None
) -> None:
    """Hold the indexes of the data directory and answer until interrupted; `started` is told the URL.

    :raises InvalidInput: other machines could reach it, and there is no key to ask them for; or the certificate and its
        key do not fit.
    :raises Unavailable: the address is taken.
    :raises DataDirectoryInUse: another process holds the indexes.
    """
    if settings.qdrant_api_key is None and not _is_loopback(host):
        raise InvalidInput(
            f"On {host} other machines could read every tenant's index; nothing was started. "
            "Set FOOTNOTE_QDRANT_API_KEY, here and for those who ask, or listen on 127.0.0.1."
        )
    if tls is not None:
        _check(tls)
    directory = settings.data.absolute() / "indexes"
    with listen(host, port) as listener, open_index_service(settings, directory) as app:
        server = OrderlyServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MOST_REQUESTS,
                timeout_graceful_shutdown=ENDING_SECONDS,
                ssl_certfile=None if tls is None else tls.certificate,
                ssl_keyfile=None if tls is None else tls.key,
            )
        )
        url = url_of(host, listener.getsockname()[1], scheme="http" if tls is None else "https")
        when_started(server, lambda: started(url))
        server.run(sockets=[listener])


def _check(tls: Tls) -> None:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.certificate, tls.key)
    except (ssl.SSLError, OSError) as error:
        raise InvalidInput(
            f"{tls.certificate} and {tls.key} are not a certificate and its key ({error}); nothing was started."
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
