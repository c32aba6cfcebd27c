"""Through a real server and real sockets: what an in-process client cannot show."""

import asyncio
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import uvicorn

from benchmarks.chaos.faults import small_disk
from core.db import answers as answer_rows
from core.db.session import Database
from core.ids import DEFAULT_TENANT, AnswerId
from generation.ports import Delta
from tests.api.house import House
from tests.contracts import test_chat_model as providers

pytestmark = pytest.mark.slow

EVENTS = {"Accept": "text/event-stream"}
QUESTION = {"question": "How many days of holiday?"}


@pytest.fixture
def server(house: House) -> Iterator[str]:
    with serving(house) as url:
        yield url


@contextmanager
def serving(house: House) -> Iterator[str]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(house.app(), log_config=None, access_log=False, timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: running.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_deltas_arrive_while_the_model_still_speaks_and_a_stop_ends_it(house: House, server: str) -> None:
    house.document()
    house.model._script = [Delta(text="Thirty "), Delta(text="days of holiday [1]. "), 3600.0]
    with httpx.Client(base_url=server, headers=house.bearer("rita"), trust_env=False, timeout=60) as client:
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


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*"], ids=["stream", "json"])
def test_f14_a_client_who_goes_away_is_noticed(accept: str, house: House, server: str) -> None:
    house.document()
    house.model._script = [Delta(text="Thirty "), 3600.0]
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection, connection.makefile("rb") as response:
        connection.sendall(chat_request(house, host, accept))
        if accept == EVENTS["Accept"]:
            assert any(line.strip() == b"event: retrieval" for line in response)
        wait_until(lambda: bool(house.model.prompts))
        keep_for_a_second(house)
        assert house.model.closed == 0
    wait_until(lambda: house.model.closed == 1)


def chat_request(house: House, host: str, accept: str) -> bytes:
    body = json.dumps(QUESTION).encode()
    head = (
        f"POST /v1/chat HTTP/1.1\r\nHost: {host}\r\nAuthorization: {house.bearer('rita')['Authorization']}\r\n"
        f"Accept: {accept}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    return head + body


def keep_for_a_second(house: House) -> None:
    """Have the answer stopped when nobody has read it for a second, from when its reader is there.

    Before that, a second without a reader goes by by itself on a busy machine.
    """
    wait_until(lambda: any(running._readers for running in list(house.answering._running.values())))
    for running in list(house.answering._running.values()):
        running._keep_seconds = 1.0


def test_a_body_beyond_the_limit_is_refused_with_and_without_a_length(house: House, server: str) -> None:
    with httpx.Client(base_url=server, headers=house.bearer("rita"), trust_env=False, timeout=60) as client:
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


def test_f1_an_upload_that_breaks_off_at_any_byte_is_not_accepted(
    house: House, server: str, chance: random.Random
) -> None:
    host, port = server.removeprefix("http://").split(":")
    body = (
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        f"{'the text ' * 30_000}\r\n--x--\r\n"
    ).encode()
    head = (
        f"POST /v1/documents HTTP/1.1\r\nHost: {host}\r\nAuthorization: {house.bearer('ed')['Authorization']}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    whole = head + body
    cuts = [*(chance.randrange(len(whole)) for _ in range(25)), len(head), len(whole) - 1]
    for cut in cuts:
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(whole[:cut])
            if cut % 2:  # Half of them with a reset, half in order.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with httpx.Client(base_url=server, headers=house.bearer("ed"), trust_env=False, timeout=60) as client:
        assert client.get("/v1/documents").json()["documents"] == [], f"cut at {cuts}"
        assert house.woken == 0
        assert [*house.blobs.list(DEFAULT_TENANT), *(house.settings.data / "blobs" / ".tmp").iterdir()] == []

        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(whole)
            assert b"202 Accepted" in connection.recv(1_000)
        (document,) = client.get("/v1/documents").json()["documents"]
    assert document["state"] == "queued"
    assert [blob.size for blob in house.blobs.list(DEFAULT_TENANT)] == [9 * 30_000]


def test_f1_a_disk_that_fills_up_answers_507_and_keeps_no_half_file(sqlite_database: Database, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 1) as disk:
        if disk is None:
            pytest.skip("a small disk cannot be mounted here")
        house = House(sqlite_database, disk, min_free_bytes=0)  # Let it really run full.
        with (
            serving(house) as url,
            httpx.Client(base_url=url, headers=house.bearer("ed"), trust_env=False, timeout=60) as client,
        ):
            answers = {}
            for number in range(6):  # 300 KB each, on a disk of 1 MB
                name = f"{number}.txt"
                answers[name] = client.post("/v1/documents", files={"file": (name, str(number).encode() * 300_000)})
            kept = sorted(blob.size for blob in house.blobs.list(DEFAULT_TENANT))
            listed = {document["name"] for document in client.get("/v1/documents").json()["documents"]}

    codes = [answer.status_code for answer in answers.values()]
    assert codes == [202] * 3 + [507] * 3
    assert answers["5.txt"].json()["code"] == "storage_full"
    assert listed == {"0.txt", "1.txt", "2.txt"}
    assert kept == [300_000] * 3


@pytest.mark.parametrize("moment", ["before the first token", "in the middle"])
def test_f14_a_client_who_leaves_ends_the_request_to_the_provider_and_what_was_said_is_kept(
    house: House, server: str, moment: str
) -> None:
    house.document()
    handler = providers.silent if moment == "before the first token" else providers.stalls_in_the_middle
    with provider(handler) as (url, asked, hung_up):
        house.answering._models["scripted"] = providers.model_at(url, seconds=600.0)
        with httpx.Client(base_url=server, headers=house.bearer("rita"), trust_env=False, timeout=60) as client:
            with client.stream("POST", "/v1/chat", json=QUESTION, headers=EVENTS) as response:
                answer = AnswerId(UUID(response.headers["x-footnote-answer"]))
                lines = response.iter_lines()
                assert asked.wait(60)
                if moment == "in the middle":
                    assert any(line == "event: delta" for line in lines)
                keep_for_a_second(house)
                assert not hung_up.is_set()
            assert hung_up.wait(60)  # Long before the provider would have been given up.
        wait_until(lambda: not house.answering._running)  # Its place is free.
    with house.database.reading() as session:
        held = answer_rows.get_answer(session, DEFAULT_TENANT, owner="user:rita", answer=answer)
        events = answer_rows.events_after(session, DEFAULT_TENANT, answer, 0)
    assert held.state == "stopped"
    assert events[-1].data["code"] == "stopped"
    said = "".join(event.data["text"] for event in events if event.type == "delta")
    assert ("Parking" in said) is (moment == "in the middle")


def test_f14_a_reader_who_does_not_read_holds_up_nobody(house: House, server: str) -> None:
    house.document()
    house.model._script = [Delta(text=f"Thirty days of holiday in case {number}. ") for number in range(5_000)]
    host, port = server.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect((host, int(port)))
        slow.sendall(chat_request(house, host, EVENTS["Accept"]))
        wait_until(lambda: bool(house.model.prompts))  # It has begun with this script.
        with httpx.Client(base_url=server, headers=house.bearer("ed"), trust_env=False, timeout=60) as client:
            house.model._script = [Delta(text="Thirty days of holiday [1].")]
            assert client.post("/v1/chat", json=QUESTION).json()["answer"] == "Thirty days of holiday [1]."
            assert client.get("/v1/session").status_code == 200
        # Generating does not wait for its reader, either: what is not read lies in the log.
        wait_until(lambda: not house.answering._running)


@contextmanager
def provider(handler: providers.Handler) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """Yield the address of a chat endpoint in a thread of its own, and when it was asked and hung up on."""
    asked, hung_up, over = threading.Event(), threading.Event(), asyncio.Event()
    loop, started, urls = asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> None:
        async with providers.serving(handler) as running:
            urls.append(running.url)
            started.set()
            await _told(running.asked, asked, over)
            await _told(running.hung_up, hung_up, over)
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(60)
    try:
        yield urls[0], asked, hung_up
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


async def _told(event: asyncio.Event, told: threading.Event, over: asyncio.Event) -> None:
    """Pass the event on to another thread, unless it is over before."""
    first = {asyncio.ensure_future(one.wait()) for one in (event, over)}
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    for one in first:
        one.cancel()
    if event.is_set():
        told.set()
