"""A model that says what it was told to say. A real implementation for tests and demonstrations, not a mock."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from core.errors import FootnoteError
from generation.ports import ModelEvent, Prompt

Step = ModelEvent | float | FootnoteError | asyncio.Event


class ScriptedModel:
    """Plays its script for every question: yields events, sleeps numbers (seconds), waits for flags, raises errors.

    `prompts` holds what it was asked; `closed` counts the streams that were ended, by themselves or by the reader.
    """

    def __init__(self, script: Sequence[Step], *, id: str = "scripted", context_tokens: int = 8_000) -> None:  # noqa: A002 - as the port calls it
        self._script = script
        self._id = id
        self._context_tokens = context_tokens
        self.prompts: list[Prompt] = []
        self.closed = 0

    @property
    def id(self) -> str:
        return self._id

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    async def stream(self, prompt: Prompt) -> AsyncIterator[ModelEvent]:
        """Play the script."""
        self.prompts.append(prompt)
        try:
            for step in self._script:
                if isinstance(step, FootnoteError):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, float | int):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.closed += 1
