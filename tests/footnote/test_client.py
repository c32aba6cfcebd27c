import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from api.services import Health
from core.errors import DataDirectoryInUse, Unauthenticated, Unavailable
from footnote.client import Client, Problem, connect
from footnote.datadir import DataDirectory
from tests.footnote.served import Branch, CommandLine, served

NOWHERE = "http://127.0.0.1:9"


@contextmanager
def _answering(status: int, content_type: str, body: bytes) -> Iterator[str]:
    """Yield the address of a server that says one thing to everybody, as a broken proxy does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_answer_is_its_json_and_none_where_there_is_no_body(footnote: CommandLine) -> None:
    with footnote.client() as client:
        assert client.call("GET", "/readyz") == {"ready": True}
        assert client.call("POST", "/v1/admin/users", json={"name": "zoe"})["name"] == "zoe"
        assert client.call("DELETE", "/v1/admin/users/zoe") is None


def test_a_problem_is_kept_whole(footnote: CommandLine) -> None:
    with footnote.client() as client, pytest.raises(Problem) as caught:
        client.call("DELETE", "/v1/admin/users/nobody")

    assert caught.value.code == "not_found"
    assert caught.value.body["status"] == caught.value.status_code == 404
    assert caught.value.detail == caught.value.body["detail"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/html", b"<h1>Bad gateway</h1>"), ("application/json", b"[]"), ("application/json", b"{"), ("x/y", b"")],
)
def test_an_error_that_is_no_problem_document_is_one_here(content_type: str, body: bytes) -> None:
    with (
        _answering(502, content_type, body) as url,
        closing(Client(url, None)) as client,
        pytest.raises(Problem, match="Bad Gateway") as caught,
    ):
        client.call("GET", "/")

    assert caught.value.body == {"title": "Bad Gateway", "status": 502, "code": "internal"}


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with closing(Client(NOWHERE, "key")) as client, pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        client.call("GET", "/readyz")


def test_readiness_is_waited_for_and_not_for_ever(branch: Branch, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    branch.health = Health(ready=False)
    with closing(Client(url, None)) as client:
        soon = threading.Timer(0.2, lambda: setattr(branch, "health", Health(ready=True)))
        soon.start()
        client.wait_until_ready()
        soon.join()

        branch.health = Health(ready=False)
        monkeypatch.setattr("footnote.client.READY_SECONDS", 0.1)
        with pytest.raises(Unavailable, match="not ready"):
            client.wait_until_ready()


def test_a_server_that_refuses_us_is_not_waited_for() -> None:
    problem = b'{"status": 421, "code": "host_not_allowed", "detail": "Not this host."}'
    with (
        _answering(421, "application/problem+json", problem) as url,
        closing(Client(url, None)) as client,
        pytest.raises(Problem, match="Not this host"),
    ):
        client.wait_until_ready()


def test_an_address_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOOTNOTE_URL", NOWHERE)
    monkeypatch.delenv("FOOTNOTE_API_KEY", raising=False)

    with pytest.raises(Unauthenticated, match="FOOTNOTE_API_KEY"), connect(None):
        pass


def test_a_key_with_a_newline_behind_it_is_the_key(footnote: CommandLine) -> None:
    with closing(Client(footnote.url, footnote.branch.secrets["owner"] + "\n")) as client:
        assert client.call("GET", "/v1/documents")["documents"] == []


def _directory(branch: Branch, tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    directory.write_owner_key(branch.secrets["owner"])
    return directory


def test_a_command_speaks_to_the_server_that_holds_the_directory(branch: Branch, url: str, tmp_path: Path) -> None:
    directory = _directory(branch, tmp_path)
    with directory.held():
        directory.announce(url)
        with connect(directory.path) as client:
            assert client.url == url
            assert client.call("GET", "/v1/admin/users")["users"]


@pytest.mark.slow
def test_a_holder_that_is_still_starting_is_waited_for(branch: Branch, url: str, tmp_path: Path) -> None:
    directory = _directory(branch, tmp_path)
    with directory.held():
        soon = threading.Timer(0.3, directory.announce, [url])
        soon.start()
        with connect(directory.path) as client:
            assert client.url == url
        soon.join()


def test_a_holder_that_never_answers_is_told(branch: Branch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("footnote.client.READY_SECONDS", 0.1)
    directory = _directory(branch, tmp_path)

    with directory.held(), pytest.raises(DataDirectoryInUse, match=str(directory.path)), connect(directory.path):
        pass


def test_an_announcement_that_a_dead_server_left_is_not_believed(branch: Branch, tmp_path: Path) -> None:
    directory = _directory(branch, tmp_path)
    directory.announce(NOWHERE)

    assert directory.server() is None
    with directory.held():
        assert directory.server() is None  # Taken back by the next holder before it has an address of its own.


def test_a_command_follows_to_the_server_that_took_the_others_place(branch: Branch, tmp_path: Path) -> None:
    directory = _directory(branch, tmp_path)
    with directory.held(), served(branch) as second:
        with served(branch) as first:
            directory.announce(first)
            with connect(directory.path) as client:
                assert client.call("GET", "/v1/documents")["documents"] == []
        directory.announce(second)
        with closing(Client(first, directory.owner_key(), locate=lambda: second)) as client:
            assert client.call("POST", "/v1/admin/users", json={"name": "zoe"})["name"] == "zoe"
            assert client.url == second


@pytest.mark.slow
def test_many_threads_follow_together(branch: Branch) -> None:
    located: list[str] = []
    with served(branch) as second:

        def locate() -> str:
            located.append(second)
            time.sleep(0.05)
            return second

        with closing(Client(NOWHERE, branch.secrets["owner"], locate=locate)) as client:
            threads = [threading.Thread(target=client.call, args=("GET", "/v1/documents")) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert client.url == second
    assert located == [second]


def test_a_request_that_may_have_arrived_is_not_sent_twice(branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question asked twice would be answered twice."""
    monkeypatch.setattr("footnote.client.MOVING_SECONDS", 0.1)
    with _hanging_up() as (url, seen):
        with closing(Client(url, branch.secrets["owner"], locate=lambda: NOWHERE)) as client:
            with pytest.raises(Unavailable):
                client.call("POST", "/v1/chat", json={"question": "Who?"})
            assert client.url == url
        with closing(Client(url, branch.secrets["owner"], locate=lambda: url)) as client, pytest.raises(Unavailable):
            client.call("POST", "/v1/documents", repeatable=True)
    assert seen == ["/v1/chat", "/v1/documents", "/v1/documents"]


@contextmanager
def _hanging_up() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.path)
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()
