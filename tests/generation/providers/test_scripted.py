import asyncio

import pytest

from core.errors import ModelUnavailable
from generation.ports import Delta, ModelEvent
from generation.prompts import render
from generation.providers.scripted import ScriptedModel

PROMPT = render("Q", standalone="Q", evidence=(), nonce="n")


def test_it_plays_its_script_and_remembers_what_it_was_asked() -> None:
    model = ScriptedModel([Delta(text="a"), 0.0, Delta(text="b")])

    async def played() -> list[ModelEvent]:
        return [event async for event in model.stream(PROMPT)]

    assert asyncio.run(played()) == [Delta(text="a"), Delta(text="b")]
    assert model.prompts == [PROMPT]
    assert model.closed == 1


def test_it_raises_the_errors_of_its_script() -> None:
    model = ScriptedModel([ModelUnavailable("gone")])

    async def played() -> None:
        async for _ in model.stream(PROMPT):
            pass

    with pytest.raises(ModelUnavailable, match="gone"):
        asyncio.run(played())
