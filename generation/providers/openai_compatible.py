"""Any endpoint that speaks the chat-completions protocol, through the `openai` SDK. The only module that imports it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import ModelUnavailable
from core.retry_after import asked_seconds
from generation.ports import Delta, ModelEvent, Prompt, Usage

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

T = TypeVar("T")

OVERLOADED_SECONDS = 10.0  # where the endpoint does not say for how long
_CHARS_PER_TOKEN = 8  # No tokenizer puts more into a token on average: beyond, the endpoint ignores its limit.
_NO_KEY = "none"  # The SDK insists on one; local servers need none.


class OpenAICompatibleModel:
    """A chat model behind a base URL: OpenAI, Azure, vLLM, Ollama, a proxy.

    The SDK is imported with the first question. `first_token_seconds` bounds the wait for the first piece of an answer,
    `next_token_seconds` that for each further one. Nothing is retried once text has arrived.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None,
        api_key: str | None,
        context_tokens: int,
        first_token_seconds: float = 60.0,
        next_token_seconds: float = 30.0,
        connect_seconds: float = 10.0,
    ) -> None:
        self._model = model
        self._base_url = base_url
        self._api_key = api_key or _NO_KEY
        self._context_tokens = context_tokens
        self._first_token_seconds = first_token_seconds
        self._next_token_seconds = next_token_seconds
        self._connect_seconds = connect_seconds
        self._counts_usage = True

    @property
    def id(self) -> str:
        return f"openai:{self._model}"

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    async def stream(self, prompt: Prompt) -> AsyncIterator[ModelEvent]:
        """Yield the answer as it comes; closing the iterator closes the connection.

        :raises ModelUnavailable: the endpoint refuses, does not answer in time, breaks off, or does not stop.
        """
        client = self._client()
        try:
            async with client:
                stream = await self._within(self._opened(client, prompt), self._first_token_seconds)
                try:
                    async for event in self._read(stream, prompt.max_output_tokens):
                        yield event
                finally:
                    await stream.close()
        except ModelUnavailable:
            raise
        except Exception as error:
            raise self._translated(error) from error

    async def _read(self, stream: "AsyncStream[ChatCompletionChunk]", max_tokens: int) -> AsyncIterator[ModelEvent]:
        chunks = aiter(stream)
        left = max_tokens * _CHARS_PER_TOKEN
        patience = self._first_token_seconds
        finished = False
        while True:
            try:
                chunk = await self._within(anext(chunks), patience)
            except StopAsyncIteration:
                break
            if chunk.usage is not None:
                yield Usage(
                    prompt_tokens=chunk.usage.prompt_tokens or 0, completion_tokens=chunk.usage.completion_tokens or 0
                )
            for choice in (chunk.choices or [])[:1]:
                finished = finished or choice.finish_reason is not None
                text = choice.delta.content if choice.delta is not None else None
                if text:
                    patience = self._next_token_seconds
                    left -= len(text)
                    if left < 0:
                        raise ModelUnavailable(f"{self.id} went on far beyond the length that it was asked to keep to.")
                    yield Delta(text=text)
        if not finished:
            raise ModelUnavailable(f"{self.id} broke off before its answer was complete. Ask again.")

    async def _opened(self, client: "AsyncOpenAI", prompt: Prompt) -> "AsyncStream[ChatCompletionChunk]":
        from openai import BadRequestError  # noqa: PLC0415 - the SDK takes a second to import

        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if self._counts_usage else {}
        messages = _messages(prompt)
        while True:
            try:
                opened: AsyncStream[ChatCompletionChunk] = await client.chat.completions.create(
                    model=self._model,
                    messages=messages,
                    max_tokens=prompt.max_output_tokens,
                    temperature=0.0,
                    stream=True,
                    **options,
                )
                return opened  # noqa: TRY300 - the loop is for the one error below
            except BadRequestError as error:
                if not options or "stream_options" not in str(error):
                    raise
                self._counts_usage = False  # An older server: it answers, but does not count.
                options = {}

    async def _within(self, awaitable: Awaitable[T], seconds: float) -> T:
        try:
            return await asyncio.wait_for(awaitable, seconds)
        except TimeoutError as error:
            raise ModelUnavailable(f"{self.id} said nothing for {seconds:g} seconds. Ask again.") from error

    def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI, Timeout  # noqa: PLC0415 - the SDK takes a second to import

        return AsyncOpenAI(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=1,  # A connection refused or a 5xx before the first byte; never after it.
            timeout=Timeout(self._first_token_seconds, connect=self._connect_seconds),
        )

    def _translated(self, error: Exception) -> ModelUnavailable:
        status = getattr(error, "status_code", None)
        if status in {401, 403}:
            return ModelUnavailable(f"{self.id} does not accept the API key of this installation.")
        if status == 404:  # noqa: PLR2004 - HTTP's own
            return ModelUnavailable(f"{self.id} is not known at its endpoint.")
        if status == 429:  # noqa: PLR2004 - HTTP's own
            asked = _asked_seconds(error)
            return ModelUnavailable(
                f"{self.id} is overloaded or over its quota. Try again later.",
                retry_after=OVERLOADED_SECONDS if asked is None else asked,
            )
        if status is not None:
            asked = _asked_seconds(error)
            return ModelUnavailable(f"{self.id} refused the request with status {status}.", retry_after=asked)
        return ModelUnavailable(f"{self.id} cannot be reached or broke off its answer ({type(error).__name__}).")


def _asked_seconds(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    return None if response is None else asked_seconds(response.headers)


def _messages(prompt: Prompt) -> "list[ChatCompletionMessageParam]":
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": prompt.system}]
    for turn in prompt.turns:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    messages.append({"role": "user", "content": prompt.user})
    return messages
