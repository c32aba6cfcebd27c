"""Reads an answer's event stream, and goes on where it broke off."""

import json
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx

from core.errors import Unavailable
from footnote.client import Client, Problem, read

PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0, 4.0, 4.0)  # Before each attempt to go on: a restart takes some seconds.
AWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event of an answer. `id` is its own; empty where it has none, as what is in no log."""

    id: str
    type: str
    data: dict[str, Any]


def events(client: Client, body: dict[str, str]) -> Iterator[Event]:
    """Ask and yield the events of the answer, in order, each once.

    A broken stream is resumed, at the server that has taken the other's place if there is one; every event that arrives
    renews the patience for that.

    :raises Problem: the question was refused.
    :raises Unavailable: the stream broke and could not be resumed.
    """
    stream = _AnswerStream(client, body)
    attempts = 0
    while True:
        with closing(stream.connection()) as connection:
            for event in connection:
                if event.id:
                    attempts = 0
                elif _of_connection(event) and attempts < len(PAUSES):
                    break
                yield event
                if event.type in {"done", "error"}:
                    return
        if attempts == len(PAUSES):
            raise Unavailable("The answer's stream broke off and could not be resumed; ask again.")
        time.sleep(PAUSES[attempts])
        attempts += 1


def _of_connection(event: Event) -> bool:
    """Whether an event that is in no log ends this connection alone: the log could not be read just now."""
    return event.type == "error" and event.data.get("code") == Unavailable.code


class _AnswerStream:
    """One answer over as many connections as it takes; remembers where to go on."""

    def __init__(self, client: Client, body: dict[str, str]) -> None:
        self._client = client
        self._body = body
        self._answer: str | None = None
        self._last: str | None = None

    def connection(self) -> Generator[Event]:
        """Yield the events of one connection until it ends or breaks; later ones go on after the last event."""
        url = self._client.url
        try:
            with self._opened() as response:
                if not response.is_success:
                    response.read()
                    read(response)
                self._answer = response.headers.get("x-footnote-answer", self._answer)
                for event in parse(lines(response.iter_text())):
                    self._last = event.id or self._last
                    yield event
        except Problem as problem:
            if self._answer is None or problem.status_code not in AWAY:
                raise
        except httpx.TransportError as error:
            moved = self._client.move(url)
            if self._answer is None and not (moved and isinstance(error, httpx.ConnectError)):
                raise Unavailable(f"The server at {url} did not answer ({error}).") from error

    def _opened(self) -> AbstractContextManager[httpx.Response]:
        headers = {"Accept": "text/event-stream"}
        if self._answer is None:
            return self._client.http.stream("POST", "/v1/chat", headers=headers, json=self._body)
        if self._last:
            headers["Last-Event-ID"] = self._last
        return self._client.http.stream("GET", f"/v1/answers/{self._answer}/events", headers=headers)


def lines(pieces: Iterator[str]) -> Iterator[str]:
    """Yield the complete lines of a stream. Only LF ends one, or CRLF: texts hold other separators (U+2028, U+0085)."""
    rest = ""
    for piece in pieces:
        *complete, rest = (rest + piece).split("\n")
        yield from (line.removesuffix("\r") for line in complete)


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Yield the events of a server-sent event stream (WHATWG HTML, 9.2.6), each with its own id; no comments."""
    kind, identifier = "message", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield Event(id=identifier, type=kind, data=json.loads("\n".join(data)))
            kind, identifier, data = "message", "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            identifier = value
