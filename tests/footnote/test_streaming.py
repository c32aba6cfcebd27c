import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unavailable
from footnote import streaming
from footnote.client import Client, Problem
from footnote.streaming import PAUSES, Event, events, lines, parse

NOWHERE = "http://127.0.0.1:9"


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


def test_an_event_without_an_id_has_none_of_the_one_before() -> None:
    lines = ["id: 1", "event: delta", "data: {}", "", "event: error", "data: {}", ""]

    assert [event.id for event in parse(iter(lines))] == ["1", ""]


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


AWAY = b'event: error\ndata: {"code": "unavailable", "detail": "The catalogue is busy."}\n\n'
DONE = _event(5, "done")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as ever, without the waiting."""
    monkeypatch.setattr(streaming, "PAUSES", (0.001,) * len(PAUSES))


@contextmanager
def _breaking(*parts: bytes | int, status: int = 200) -> Iterator[tuple[Client, list[tuple[str, str, str | None]]]]:
    """A server whose streams break off: the first request gets the first part (or status), and so on; and its log."""
    left = list(parts)
    asked: list[tuple[str, str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, self.headers.get("Last-Event-ID")))
            part = left.pop(0) if left else b""
            answered, part = (part, b"{}") if isinstance(part, int) else (status, part)
            self.send_response(answered)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("X-Footnote-Answer", "answer-1")
            self.send_header("Content-Length", str(len(part) + (0 if b"event: done" in part or answered != 200 else 1)))
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


@pytest.mark.usefixtures("at_once")
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


@pytest.mark.usefixtures("at_once")
def test_a_stream_that_always_breaks_is_given_up_with_a_sentence() -> None:
    with _breaking(_event(1)) as (client, asked), pytest.raises(Unavailable, match="ask again"):
        list(events(client, {"question": "Who?"}))

    assert len(asked) == len(PAUSES) + 1


def test_attempts_are_further_and_further_apart_and_outlast_a_restart() -> None:
    assert PAUSES[0] == pytest.approx(0.2)
    assert all(later in (pytest.approx(2 * pause), PAUSES[-1]) for pause, later in pairwise(PAUSES))
    assert PAUSES[-1] <= 5
    assert sum(PAUSES) >= 20


def test_before_every_attempt_there_is_a_pause_and_what_arrives_renews_the_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused: list[float] = []
    monkeypatch.setattr("footnote.streaming.time.sleep", paused.append)
    with _breaking(_event(1), b"", b"", _event(2), b"", DONE) as (client, _):
        seen = [event.id for event in events(client, {"question": "Who?"})]

    assert seen == ["1", "2", "5"]
    assert paused == [*PAUSES[:3], *PAUSES[:2]]


@pytest.mark.usefixtures("at_once")
def test_a_server_that_is_starting_again_is_waited_for_and_one_that_refuses_is_not() -> None:
    with _breaking(_event(1), 503, 502, DONE) as (client, _):
        assert [event.id for event in events(client, {"question": "Who?"})] == ["1", "5"]

    with _breaking(_event(1), 404, DONE) as (client, asked):
        with pytest.raises(Problem):
            list(events(client, {"question": "Who?"}))
        assert len(asked) == 2


@pytest.mark.usefixtures("at_once")
def test_an_answer_goes_on_at_the_server_that_took_the_others_place() -> None:
    with _breaking(DONE) as (other, asked_there):
        with _breaking(_event(1)) as (one, asked_here):
            client = Client(one.url, "key", locate=lambda: other.url)
            answer = events(client, {"question": "Who?"})
            assert next(answer).id == "1"
        with closing(client):  # the first server is gone
            assert [event.id for event in answer] == ["5"]

    assert asked_here == [("POST", "/v1/chat", None)]
    assert asked_there == [("GET", "/v1/answers/answer-1/events", "1")]


@pytest.mark.usefixtures("at_once")
def test_a_question_that_reached_nobody_is_asked_at_the_server_that_took_the_others_place() -> None:
    with _breaking(DONE) as (other, _), closing(Client(NOWHERE, "key", locate=lambda: other.url)) as client:
        assert [event.id for event in events(client, {"question": "Who?"})] == ["5"]


@pytest.mark.usefixtures("at_once")
def test_a_log_that_cannot_be_read_just_now_ends_the_connection_and_not_the_answer() -> None:
    with _breaking(_event(1) + AWAY, AWAY, _event(2) + DONE) as (client, asked):
        seen = [event.id for event in events(client, {"question": "Who?"})]

    assert seen == ["1", "2", "5"]
    assert [last for _, _, last in asked] == [None, "1", "1"]


@pytest.mark.usefixtures("at_once")
def test_a_log_that_can_never_be_read_is_told_in_its_own_words() -> None:
    with _breaking(_event(1), *[AWAY] * len(PAUSES)) as (client, asked):
        *_, last = events(client, {"question": "Who?"})

    assert (last.type, last.data["detail"]) == ("error", "The catalogue is busy.")
    assert len(asked) == len(PAUSES) + 1


@pytest.mark.parametrize(
    "error",
    [
        b'id: 2\nevent: error\ndata: {"code": "unavailable"}\n\n',  # of the log: how the answer ended
        b'event: error\ndata: {"code": "interrupted", "retryable": true}\n\n',  # nobody goes on with it
    ],
)
def test_an_error_that_ends_the_answer_is_not_waited_out(error: bytes) -> None:
    with _breaking(_event(1) + error) as (client, asked):
        *_, last = events(client, {"question": "Who?"})

    assert last.type == "error"
    assert len(asked) == 1


def test_a_question_that_is_refused_is_a_problem_and_asked_once() -> None:
    with _breaking(b'{"code": "forbidden", "detail": "No."}', status=403) as (client, asked):
        with pytest.raises(Problem, match="No"):
            list(events(client, {"question": "Who?"}))
        assert len(asked) == 1


def test_a_server_that_is_not_there_is_told() -> None:
    with closing(Client(NOWHERE, "key")) as client, pytest.raises(Unavailable):
        list(events(client, {"question": "Who?"}))
