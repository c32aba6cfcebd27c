"""Reads an answer's event stream, and goes on where it broke off."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from core.errors import Unavailable
from footnote.client import Client, read

RETRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event of an answer."""

    id: str
    type: str
    data: dict[str, Any]


def events(client: Client, body: dict[str, str]) -> Iterator[Event]:
    """Ask and yield the events of the answer, in order, each once; a broken stream is resumed.

    :raises Problem: the question was refused.
    :raises Unavailable: the stream broke and could not be resumed.
    """
    answer, last = None, None
    for _ in range(RETRIES + 1):
        method, path = ("POST", "/v1/chat") if answer is None else ("GET", f"/v1/answers/{answer}/events")
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        try:
            with client.http.stream(method, path, headers=headers, json=body if answer is None else None) as response:
                if not response.is_success:
                    response.read()
                    read(response)
                answer = response.headers.get("x-footnote-answer", answer)
                for event in parse(lines(response.iter_text())):
                    last = event.id or last
                    yield event
                    if event.type in {"done", "error"}:
                        return
        except httpx.TransportError as error:
            if answer is None:
                raise Unavailable(f"The server at {client.url} did not answer ({error}).") from error
    raise Unavailable("The answer's stream broke off and could not be resumed; ask again.")


def lines(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the complete lines of a stream. Only LF ends one, or CRLF: texts hold other separators (U+2028, U+0085)."""
    rest = ""
    for piece in pieces:
        *complete, rest = (rest + piece).split("\n")
        yield from (line.removesuffix("\r") for line in complete)


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Yield the events of a server-sent event stream (WHATWG HTML, 9.2.6); comments are left out."""
    kind, identifier = "message", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield Event(id=identifier, type=kind, data=json.loads("\n".join(data)))
            kind, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            identifier = value
