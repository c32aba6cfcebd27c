"""Server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from api.sse import HEARTBEAT, encode, last_event_id, wants_events, with_heartbeats
from core.db.answers import AnswerEvent
from core.errors import ModelUnavailable


def event(seq: int, text: str = "x") -> AnswerEvent:
    return AnswerEvent(seq=seq, type="delta", data={"text": text})


def test_an_event_is_one_line_of_data_whatever_its_text() -> None:
    encoded = encode(event(3, "a\nb\r\n\n: data"))
    head, data, *rest = encoded.decode().split("\n", 2)
    assert (head, data) == ("id: 3", "event: delta")
    line = rest[0].removesuffix("\n\n")
    assert "\n" not in line
    assert json.loads(line.removeprefix("data: ")) == {"text": "a\nb\r\n\n: data"}


async def collect(events: AsyncIterator[AnswerEvent], *, seconds: float = 10.0) -> list[bytes]:
    return [piece async for piece in with_heartbeats(events, seconds=seconds)]


def test_silence_is_filled_with_comments_and_loses_no_event() -> None:
    async def slow() -> AsyncIterator[AnswerEvent]:
        yield event(1)
        await asyncio.sleep(0.2)
        yield event(2)

    pieces = asyncio.run(collect(slow(), seconds=0.05))
    assert pieces.count(HEARTBEAT) >= 1
    assert [piece for piece in pieces if piece != HEARTBEAT] == [encode(event(1)), encode(event(2))]


def test_a_reader_who_leaves_closes_the_source() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[AnswerEvent]:
        try:
            yield event(1)
            await asyncio.sleep(3600)
            yield event(2)
        finally:
            closed.set()

    async def leave(*, while_waiting: bool) -> bool:
        closed.clear()
        stream = with_heartbeats(endless(), seconds=0.01)
        await anext(stream)
        if while_waiting:
            await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # a generator, told of as an iterator
        return closed.is_set()

    assert asyncio.run(leave(while_waiting=True))
    assert asyncio.run(leave(while_waiting=False))


def test_an_error_in_the_middle_ends_the_stream_with_an_error_event() -> None:
    async def failing() -> AsyncIterator[AnswerEvent]:
        yield event(1)
        raise ModelUnavailable("The model is gone.")

    last = asyncio.run(collect(failing()))[-1].decode()
    assert last.startswith("event: error\ndata: ")  # No id: 2 is another event's, and going on after it would lose it.
    assert "model_unavailable" in last


@pytest.mark.parametrize(
    ("accept", "events"),
    [
        ("text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
    ],
)
def test_events_are_sent_only_when_asked_for(accept: str, events: bool) -> None:  # noqa: FBT001 - data
    assert wants_events(accept) is events


@pytest.mark.parametrize(("header", "seq"), [(None, 0), ("7", 7), ("", 0), ("-1", 0), ("²", 0), ("9" * 30, 0)])
def test_an_id_that_is_none_of_ours_means_from_the_beginning(header: str | None, seq: int) -> None:
    assert last_event_id(header) == seq
