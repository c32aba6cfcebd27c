"""Server-sent events: bytes encoded once, a comment now and then so that proxies keep the line, resume by id."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import orjson
from anyio import CancelScope
from starlette.responses import StreamingResponse

from core.errors import FootnoteError
from generation.events import error_data

HEARTBEAT_SECONDS = 10.0
HEARTBEAT = b": \n\n"
MOST_ID_DIGITS = 9
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold the events back until a buffer is full
}


class StreamedEvent(Protocol):
    """What can be sent: `seq` counts from 1 and is the event's id."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def data(self) -> Mapping[str, object]: ...


def encode(event: StreamedEvent) -> bytes:
    """Return the event as it goes over the line; JSON never holds a bare line break, so one data line is enough."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.type.encode(), orjson.dumps(event.data))


async def with_heartbeats(
    events: AsyncIterator[StreamedEvent], *, seconds: float = HEARTBEAT_SECONDS
) -> AsyncIterator[bytes]:
    """Yield the events as bytes, and a comment after every `seconds` without one. Closing it closes `events`."""
    pending: asyncio.Task[StreamedEvent] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(_next(events))
            # `wait`, not `wait_for`: a time-out must not cancel the source, which would end there.
            done, _ = await asyncio.wait({pending}, timeout=seconds)
            if not done:
                yield HEARTBEAT
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            except FootnoteError as error:  # Too late for a problem document: the answer began with status 200.
                # It is in no log and so has no id: the next number is another event's, which a resumption would skip.
                yield b"event: error\ndata: %s\n\n" % orjson.dumps(error_data(error))
                return
            finally:
                pending = None
            yield encode(event)
    finally:
        with CancelScope(shield=True):  # a client who leaves cancels this very task; the source is closed all the same
            if pending is not None:
                pending.cancel()
                await asyncio.wait({pending})
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()


async def _next(events: AsyncIterator[StreamedEvent]) -> StreamedEvent:
    return await anext(events)


def event_response(
    events: AsyncIterator[StreamedEvent], *, headers: Mapping[str, str] | None = None
) -> StreamingResponse:
    """Return the events as a `text/event-stream`; a client that goes away closes `events`."""
    return StreamingResponse(
        with_heartbeats(events), media_type="text/event-stream", headers={**HEADERS, **(headers or {})}
    )


def wants_events(accept: str) -> bool:
    """Return whether the Accept header asks for an event stream; JSON is what is sent otherwise."""
    return any(part.partition(";")[0].strip().lower() == "text/event-stream" for part in accept.split(","))


def last_event_id(header: str | None) -> int:
    """Return the id after which to go on; what is no id of ours means from the beginning."""
    if header is None or not header.isascii() or not header.isdecimal() or len(header) > MOST_ID_DIGITS:
        return 0
    return int(header)
