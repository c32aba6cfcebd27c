"""Through a real server and real sockets: what an in-process client cannot show."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn

from generation.ports import Delta
from tests.api.house import House

pytestmark = pytest.mark.slow

EVENTS = {"Accept": "text/event-stream"}
QUESTION = {"question": "How many days of holiday?"}


@pytest.fixture
def server(house: House) -> Iterator[str]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(house.app(), log_config=None, access_log=False, timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: running.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    running.should_exit = True
    thread.join()
    listener.close()


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_deltas_arrive_while_the_model_still_speaks_and_a_stop_ends_it(house: House, server: str) -> None:
    house.document()
    house.model._script = [Delta(text="Thirty "), Delta(text="days of holiday [1]. "), 3600.0]
    with httpx.Client(base_url=server, headers=house.bearer("rita"), trust_env=False, timeout=20) as client:
        with client.stream("POST", "/v1/chat", json=QUESTION, headers=EVENTS) as response:
            answer = response.headers["x-footnote-answer"]
            lines = response.iter_lines()
            assert any(line == "event: delta" for line in lines)
            assert client.post(f"/v1/answers/{answer}/stop").status_code == 204
            rest = list(lines)
        assert "event: error" in rest
        ended = [json.loads(line.removeprefix("data: ")) for line in rest if line.startswith("data: ")][-1]
        assert ended["code"] == "stopped"
    assert house.model.closed == 1


@pytest.mark.parametrize("headers", [EVENTS, {}], ids=["stream", "json"])
def test_a_client_who_goes_away_is_noticed(headers: dict[str, str], house: House, server: str) -> None:
    house.document()
    house.model._script = [Delta(text="Thirty "), 3600.0]
    house.answering._keep_seconds = 0.1
    with httpx.Client(base_url=server, headers=house.bearer("rita"), trust_env=False, timeout=20) as client:
        if headers:
            with client.stream("POST", "/v1/chat", json=QUESTION, headers=headers) as response:
                assert any(line == "event: retrieval" for line in response.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/chat", json=QUESTION, timeout=1)
    wait_until(lambda: house.model.closed == 1)


def test_a_body_beyond_the_limit_is_refused_with_and_without_a_length(house: House, server: str) -> None:
    with httpx.Client(base_url=server, headers=house.bearer("rita"), trust_env=False, timeout=20) as client:
        whole = client.post("/v1/chat", json={"question": "a" * 2_000_000})
        assert (whole.status_code, whole.json()["code"]) == (413, "too_large")
        assert client.get("/v1/session").status_code == 200

        def pieces() -> Iterator[bytes]:
            yield b'{"question": "'
            for _ in range(12):
                yield b"a" * 100_000

        headers = {"Content-Type": "application/json"}
        streamed = client.post("/v1/chat", content=pieces(), headers=headers)
        assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")
        assert client.get("/v1/session").status_code == 200


def test_an_upload_that_breaks_off_is_not_accepted(house: House, server: str) -> None:
    host, port = server.removeprefix("http://").split(":")
    head = (
        f"POST /v1/documents HTTP/1.1\r\nHost: {host}\r\nAuthorization: {house.bearer('ed')['Authorization']}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nsome of the text'
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode())
    with httpx.Client(base_url=server, headers=house.bearer("ed"), trust_env=False) as client:
        assert client.get("/v1/documents").json()["documents"] == []
    assert house.woken == 0
