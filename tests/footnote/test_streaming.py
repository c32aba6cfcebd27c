import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unavailable
from footnote.client import Client, Problem
from footnote.streaming import RETRIES, Event, events, lines, parse


def test_events_are_read_with_id_type_and_data() -> None:
    lines = [
        "id: 1",
        "event: delta",
        'data: {"text": "a: b"}',
        "",
        ": heartbeat",
        "",
        "id: 2",
        "event: done",
        "data: {}",
        "",
    ]

    assert list(parse(iter(lines))) == [
        Event(id="1", type="delta", data={"text": "a: b"}),
        Event(id="2", type="done", data={}),
    ]


def test_data_over_several_lines_is_one_value_and_an_unfinished_event_is_none() -> None:
    lines = ["event: delta", 'data: {"text":', 'data: "x"}', "", "event: done", "data: {}"]

    assert list(parse(iter(lines))) == [Event(id="", type="delta", data={"text": "x"})]


def test_only_line_feeds_end_a_line() -> None:
    text = "data: a\u2028b\u0085c\x0bd\x0ce\n\r\nid: 1\r\n"

    assert list(lines(iter([text]))) == ["data: a\u2028b\u0085c\x0bd\x0ce", "", "id: 1"]


@given(st.lists(st.text(alphabet="ab\r\n\u2028", max_size=6)))
def test_lines_are_the_same_wherever_the_stream_is_cut(pieces: list[str]) -> None:
    whole = "".join(pieces)

    assert list(lines(iter(pieces))) == [line.removesuffix("\r") for line in whole.split("\n")[:-1]]


def _event(number: int, kind: str = "delta") -> bytes:
    return b'id: %d\nevent: %s\ndata: {"text": "%d"}\n\n' % (number, kind.encode(), number)


@contextmanager
def _breaking(*parts: bytes, status: int = 200) -> Iterator[tuple[Client, list[tuple[str, str, str | None]]]]:
    """A server whose streams break off: the first request gets the first part, and so on. And what it was asked."""
    left = list(parts)
    asked: list[tuple[str, str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, self.headers.get("Last-Event-ID")))
            part = left.pop(0) if left else b""
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("X-Footnote-Answer", "answer-1")
            self.send_header("Content-Length", str(len(part) + (0 if b"event: done" in part or status != 200 else 1)))
            self.end_headers()
            self.wfile.write(part)
            self.close_connection = True

        do_POST = do_GET = _answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with closing(Client(f"http://127.0.0.1:{server.server_port}", "key")) as client:
                yield client, asked
        finally:
            server.shutdown()
            thread.join()


def test_a_broken_stream_goes_on_where_it_broke_and_no_event_comes_twice() -> None:
    with _breaking(_event(1) + _event(2) + _event(3)[:-9], b"", _event(3), _event(4) + _event(5, "done")) as (
        client,
        asked,
    ):
        seen = [event.id for event in events(client, {"question": "Who?"})]

    assert seen == ["1", "2", "3", "4", "5"]
    assert asked == [
        ("POST", "/v1/chat", None),
        ("GET", "/v1/answers/answer-1/events", "2"),
        ("GET", "/v1/answers/answer-1/events", "2"),
        ("GET", "/v1/answers/answer-1/events", "3"),
    ]


def test_a_stream_that_always_breaks_is_given_up_with_a_sentence() -> None:
    with _breaking(_event(1)) as (client, asked), pytest.raises(Unavailable, match="ask again"):
        list(events(client, {"question": "Who?"}))

    assert len(asked) == RETRIES + 1


def test_a_question_that_is_refused_is_a_problem_and_asked_once() -> None:
    with _breaking(b'{"code": "forbidden", "detail": "No."}', status=403) as (client, asked):
        with pytest.raises(Problem, match="No"):
            list(events(client, {"question": "Who?"}))
        assert len(asked) == 1


def test_a_server_that_is_not_there_is_told() -> None:
    with closing(Client("http://127.0.0.1:9", "key")) as client, pytest.raises(Unavailable):
        list(events(client, {"question": "Who?"}))
