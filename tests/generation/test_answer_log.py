import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from core.db import answers, conversations
from core.db.session import Database
from core.errors import Conflict, StorageFull
from core.ids import AnswerId
from generation.answer_log import Ending, LiveAnswer
from generation.ports import Usage
from tests.generation.samples import TENANT, add_tenant

OWNER = "user:alice"


@pytest.fixture
def answer(sqlite_database: Database) -> AnswerId:
    add_tenant(sqlite_database)
    with sqlite_database.transaction() as session:
        conversation = conversations.create_conversation(session, TENANT, owner=OWNER, question="Q")
        return answers.start_answer(session, TENANT, owner=OWNER, conversation=conversation, question="Q", model="m")


def live(database: Database, answer: AnswerId) -> LiveAnswer:
    return LiveAnswer(database=database, tenant=TENANT, answer=answer, owner=OWNER, model="m")


def run(use: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(use())


def done(text: str) -> Ending:
    return Ending(event=("done", {}), state="done", text=text, usage=Usage(prompt_tokens=1))


def test_what_waits_for_one_commit_becomes_one_delta(sqlite_database: Database, answer: AnswerId) -> None:
    async def use() -> None:
        log = live(sqlite_database, answer)
        for letter in "abc":
            log.add("delta", {"text": letter})
        log.add("citation", {"n": 1})
        log.add("delta", {"text": "d"})
        await log.end(done("abcd"))
        found = [event async for batch in log.follow(0) for event in batch]
        assert [(event.seq, event.type) for event in found] == [
            *((1, "delta"), (2, "citation"), (3, "delta"), (4, "done"))
        ]
        assert found[0].data == {"text": "abc"}

    run(use)


def test_readers_see_only_what_is_durable(sqlite_database: Database, answer: AnswerId) -> None:
    async def use() -> None:
        log = live(sqlite_database, answer)

        async def read() -> None:
            async for batch in log.follow(0):
                with sqlite_database.reading() as session:
                    stored = answers.events_after(session, TENANT, answer, 0)
                assert stored[batch[0].seq - 1 : batch[-1].seq] == batch

        reading = asyncio.create_task(read())
        for number in range(20):
            log.add("delta", {"text": str(number)})
            await asyncio.sleep(0.005)
        await log.end(done("all"))
        await reading

    run(use)


def test_a_log_that_was_closed_elsewhere_fails_its_readers_and_says_so(
    sqlite_database: Database, answer: AnswerId
) -> None:
    async def use() -> None:
        log = live(sqlite_database, answer)
        with sqlite_database.transaction() as session:
            answers.finish_answer(session, TENANT, answer, state="stopped", text=None)
        log.add("delta", {"text": "too late"})
        await asyncio.wait_for(log.stale.wait(), 60)
        with pytest.raises(Conflict):
            _ = [batch async for batch in log.follow(0)]
        await log.end(done("never"))
        with sqlite_database.reading() as session:
            assert answers.get_answer(session, TENANT, owner=OWNER, answer=answer).state == "stopped"

    run(use)


def test_an_answer_whose_log_could_not_be_written_ends_as_soon_as_it_can(
    sqlite_database: Database, answer: AnswerId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.answer_log.CLOSE_DELAYS", (0.0,) * 9)
    append, failures = answers.append_events, [StorageFull("The disk is full."), StorageFull("Still."), None]

    def failing(*args: Any) -> Any:  # noqa: ANN401 - whatever it takes
        if error := failures.pop(0):
            raise error
        return append(*args)

    monkeypatch.setattr(answers, "append_events", failing)

    async def use() -> None:
        log = live(sqlite_database, answer)
        await log.end(done("lost"))
        assert isinstance(log.failure, StorageFull)
        async with asyncio.timeout(60):
            while stored().state == "running":  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    def stored() -> answers.Answer:
        with sqlite_database.reading() as session:
            return answers.get_answer(session, TENANT, owner=OWNER, answer=answer)

    run(use)
    held = stored()
    with sqlite_database.reading() as session:
        (event,) = answers.events_after(session, TENANT, answer, 0)
    assert (held.state, held.text, event.type, event.data["code"]) == ("error", None, "error", "storage_full")
