"""What every chat model must do, and how the OpenAI-compatible one takes the misbehaviour of a real server."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest

from core.errors import ModelUnavailable
from generation.ports import Abstain, ChatModel, Delta, ModelEvent, Prompt, Turn, Usage
from generation.prompts import render
from generation.providers.extractive import ExtractiveModel
from generation.providers.openai_compatible import OpenAICompatibleModel
from generation.providers.scripted import ScriptedModel
from retrieval.embedding.hashing import HashingEmbedder
from retrieval.reranking.late_interaction import TokenVectorCache
from tests.generation.samples import HOLIDAY, PARKING, evidence_of

T = TypeVar("T")
QUESTION = "What does parking cost a month?"
PROMPT = render(QUESTION, standalone=QUESTION, evidence=evidence_of(PARKING, HOLIDAY), nonce="n", max_output_tokens=50)
Handler = Callable[["Connection"], Coroutine[Any, Any, None]]


@dataclass
class Connection:
    """One request, as the server sees it."""

    body: dict[str, Any]
    headers: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def begin(self, status: str = "200 OK", kind: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        self.writer.write(head.encode())
        await self.writer.drain()

    async def send(self, data: str) -> None:
        self.writer.write(f"{len(data.encode()):x}\r\n".encode() + data.encode() + b"\r\n")
        await self.writer.drain()

    async def say(self, text: str | None = None, *, finish: str | None = None) -> None:
        delta = {} if text is None else {"content": text}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        await self.send(f"data: {json.dumps(_chunk(choices=[choice]))}\n\n")

    async def end(self) -> None:
        await self.send("data: [DONE]\n\n")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()


def _chunk(**parts: object) -> dict[str, object]:
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], **parts}


@dataclass
class Server:
    url: str
    requests: list[Connection] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    server = Server(url="")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")
                )
                body = json.loads(await reader.readexactly(length))
                server.requests.append(Connection(body=body, headers=head, reader=reader, writer=writer))
                server.asked.set()
                await handler(server.requests[-1])
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            server.hung_up.set()
        finally:
            writer.close()

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listening.close()
        for request in server.requests:
            request.writer.transport.abort()
        await listening.wait_closed()
        await asyncio.sleep(0)


def model_at(url: str, *, seconds: float = 10.0) -> OpenAICompatibleModel:
    return OpenAICompatibleModel(
        model="m",
        base_url=url,
        api_key="k",
        context_tokens=4_000,
        first_token_seconds=seconds,
        next_token_seconds=seconds,
    )


async def collected(model: ChatModel, prompt: Prompt = PROMPT) -> list[ModelEvent]:
    return [event async for event in model.stream(prompt)]


def answered(handler: Handler, *, seconds: float = 10.0, prompt: Prompt = PROMPT) -> tuple[list[ModelEvent], Server]:
    async def asked() -> tuple[list[ModelEvent], Server]:
        async with serving(handler) as server:
            return await collected(model_at(server.url, seconds=seconds), prompt), server

    return asyncio.run(asked())


async def well_behaved(connection: Connection) -> None:
    await connection.begin()
    for text in ("", "Parking costs ", "40 euros a month [", "1]."):
        await connection.say(text)
    await connection.say(finish="stop")
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    await connection.send(f"data: {json.dumps(_chunk(usage=usage))}\n\n")
    await connection.end()


def _extractive(_url: str) -> ChatModel:
    return ExtractiveModel(vectors=TokenVectorCache(HashingEmbedder(256)))


def _scripted(_url: str) -> ChatModel:
    return ScriptedModel([Delta(text="Parking costs "), Delta(text="40 euros a month [1]."), Usage(prompt_tokens=1)])


MODELS: list[Callable[[str], ChatModel]] = [_extractive, _scripted, model_at]


def with_server(use: Callable[[str], Awaitable[T]]) -> T:
    async def asked() -> T:
        async with serving(well_behaved) as server:
            return await use(server.url)

    return asyncio.run(asked())


@pytest.mark.parametrize("build", MODELS)
def test_a_model_streams_text_that_marks_its_evidence(build: Callable[[str], ChatModel]) -> None:
    events = with_server(lambda url: collected(build(url)))
    text = "".join(event.text for event in events if isinstance(event, Delta))
    assert "40 euros a month" in text
    assert "[1]" in text
    assert not any(isinstance(event, Abstain) for event in events)


@pytest.mark.parametrize("build", MODELS)
def test_a_model_has_a_name_and_a_window(build: Callable[[str], ChatModel]) -> None:
    model = build("http://127.0.0.1:1/v1")
    assert model.id
    assert model.context_tokens > 0


@pytest.mark.parametrize("build", MODELS)
def test_a_model_can_be_left_after_its_first_words_and_asked_again(build: Callable[[str], ChatModel]) -> None:
    async def left(url: str) -> int:
        model = build(url)
        stream = cast("AsyncGenerator[ModelEvent, None]", model.stream(PROMPT))
        await anext(stream)
        await stream.aclose()
        return len(await collected(model))

    assert with_server(left) > 0


def test_the_request_carries_the_prompt_the_turns_and_the_key() -> None:
    prompt = render(
        QUESTION, standalone="x", evidence=PROMPT.evidence, turns=[Turn(question="Q0", answer="A0")], nonce="n"
    )
    events, server = answered(well_behaved, prompt=prompt)
    assert events[-1] == Usage(prompt_tokens=11, completion_tokens=7)
    (request,) = server.requests
    assert [message["content"] for message in request.body["messages"]] == [prompt.system, "Q0", "A0", prompt.user]
    assert request.body["max_tokens"] == prompt.max_output_tokens
    assert request.body["stream_options"] == {"include_usage": True}
    assert "authorization: bearer k" in request.headers.lower()


def test_a_server_that_does_not_know_stream_options_is_asked_without_them() -> None:
    async def older(connection: Connection) -> None:
        if "stream_options" in connection.body:
            body = json.dumps({"error": {"message": "Unrecognized request argument: stream_options"}})
            await connection.begin("400 Bad Request", "application/json")
            await connection.send(body)
            connection.writer.write(b"0\r\n\r\n")
            return
        await well_behaved(connection)

    events, server = answered(older)
    assert any(isinstance(event, Delta) for event in events)
    assert ["stream_options" in request.body for request in server.requests] == [True, False]


async def silent(connection: Connection) -> None:
    await connection.reader.read()


async def stalls_in_the_middle(connection: Connection) -> None:
    await connection.begin()
    await connection.say("Parking ")
    await connection.reader.read()


async def resets_in_the_middle(connection: Connection) -> None:
    await connection.begin()
    await connection.say("Parking ")
    await asyncio.sleep(0.05)
    connection.writer.transport.abort()


async def ends_without_an_end(connection: Connection) -> None:
    await connection.begin()
    await connection.say("Parking ")
    await connection.end()


async def says_nonsense(connection: Connection) -> None:
    await connection.begin()
    await connection.say("Parking ")
    await connection.send("data: {not json\n\n")
    await connection.end()


async def sends_events_of_another_shape(connection: Connection) -> None:
    await connection.begin()
    await connection.send('data: {"choices": [{"delta": 7}], "usage": "much"}\n\n')
    await connection.end()


async def error_body_under_200(connection: Connection) -> None:
    await connection.begin(kind="application/json")
    await connection.send(json.dumps({"error": {"message": "the model is being loaded", "code": 503}}))
    connection.writer.write(b"0\r\n\r\n")


async def error_event_under_200(connection: Connection) -> None:
    await connection.begin()
    await connection.send('data: {"error": {"message": "out of memory", "type": "server_error"}}\n\n')
    await connection.end()


async def goes_on_for_ever(connection: Connection) -> None:
    await connection.begin()
    while True:
        await connection.say("and so on ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "handler",
    [
        silent,
        stalls_in_the_middle,
        resets_in_the_middle,
        ends_without_an_end,
        says_nonsense,
        sends_events_of_another_shape,
        error_body_under_200,
        error_event_under_200,
        goes_on_for_ever,
    ],
)
def test_f13_a_server_that_misbehaves_ends_as_model_unavailable(handler: Handler) -> None:
    with pytest.raises(ModelUnavailable):
        answered(handler, seconds=0.4)


@pytest.mark.parametrize(("status", "words"), [(401, "API key"), (404, "not known"), (429, "quota"), (418, "418")])
def test_a_refusal_says_what_to_do_about_it(status: int, words: str) -> None:
    async def refuses(connection: Connection) -> None:
        await connection.begin(f"{status} No", "application/json")
        await connection.send('{"error": {"message": "no"}}')
        connection.writer.write(b"0\r\n\r\n")
        await connection.writer.drain()

    with pytest.raises(ModelUnavailable, match=words):
        answered(refuses)


def test_a_server_that_is_not_there_ends_as_model_unavailable() -> None:
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        asyncio.run(collected(model_at("http://127.0.0.1:1/v1")))


def test_f14_whoever_leaves_hangs_up() -> None:
    async def left() -> None:
        async with serving(stalls_in_the_middle) as server:
            stream = cast("AsyncGenerator[ModelEvent, None]", model_at(server.url).stream(PROMPT))
            assert await anext(stream) == Delta(text="Parking ")
            await stream.aclose()
            await asyncio.wait_for(server.hung_up.wait(), 60)

    asyncio.run(left())


def test_f14_a_task_that_is_cancelled_hangs_up() -> None:
    async def cancelled() -> None:
        async with serving(silent) as server:
            task = asyncio.create_task(collected(model_at(server.url)))
            await server.asked.wait()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
            await asyncio.wait_for(server.hung_up.wait(), 60)

    asyncio.run(cancelled())
