import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from core.errors import DataDirectoryInUse, Unavailable
from core.settings import Settings
from footnote.client import connect
from footnote.datadir import DataDirectory
from footnote.listening import listen, url_of
from footnote.serving import serving


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of a small installation whose database needs no migration."""
    for name in [name for name in os.environ if name.startswith("FOOTNOTE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FOOTNOTE_EMBEDDER", "hashing:32")
    monkeypatch.setenv("FOOTNOTE_RERANKER", "none")
    monkeypatch.setattr("core.observability.structlog.configure", lambda **_: None)  # The test listens itself.
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    data.mkdir()
    (data / "catalogue.db").write_bytes(sqlite_template.read_bytes())
    with capture_logs():
        yield Settings(data=data)


def test_a_port_is_ours_as_soon_as_welisten() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Unavailable, match=f"Port {port} on 127.0.0.1 cannot be used"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", port):  # At once, whatever connections are still winding up.
        pass


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(Unavailable, match="Choose another --port"):
        listen("203.0.113.7", 0)


def test_answers_are_sent_without_delay() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - compared, not bound
        ("::", "http://[::1]:80"),
    ],
)
def test_the_address_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    assert url_of(host, 80) == url


def test_a_server_is_announced_while_it_answers_and_not_after(settings: Settings) -> None:
    directory = DataDirectory(settings.data)
    with serving(settings) as local:
        server = directory.server()
        assert server is not None
        assert (server.url, server.pid) == (local.url, os.getpid())
        headers = {"Authorization": f"Bearer {directory.owner_key()}"}
        with httpx.Client(base_url=local.url, trust_env=False) as http:
            assert http.get("/readyz").json() == {"ready": True}
            assert http.get("/v1/documents").status_code == 401
            assert http.get("/v1/documents", headers=headers).is_success
    assert directory.server() is None
    assert not (directory.path / "server.json").exists()
    assert not directory.is_held()
    assert "http-server" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.slow
def test_a_directory_is_served_by_one(settings: Settings) -> None:
    with serving(settings), pytest.raises(DataDirectoryInUse), serving(settings):
        pass


def test_a_command_without_a_server_serves_itself_and_a_second_one_joins(settings: Settings) -> None:
    with connect(settings.data) as first:
        assert first.call("GET", "/v1/documents")["documents"] == []
        with connect(settings.data) as second:
            assert second.url == first.url
            assert second.call("GET", "/v1/documents")["documents"] == []
    assert DataDirectory(settings.data).server() is None


def test_a_command_goes_on_when_the_one_that_served_it_ends(settings: Settings) -> None:
    with ExitStack() as other:
        first = other.enter_context(connect(settings.data))
        with connect(settings.data) as second:
            assert second.url == first.url
            other.close()
            assert second.call("GET", "/v1/documents")["documents"] == []
            assert second.url != first.url
            assert DataDirectory(settings.data).server() is not None
    assert not DataDirectory(settings.data).is_held()
