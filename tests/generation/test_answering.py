import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar, cast
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import answers, conversations
from core.db.answers import AnswerEvent
from core.db.session import Database
from core.db.tables import AnswerRow, ConversationRow
from core.domain import Principal
from core.errors import InvalidInput, ModelUnavailable, NotFound, Unavailable
from core.ids import AnswerId, ConversationId, DocumentId, uuid7
from generation.answering import AnswerQuestion
from generation.endings import Interrupted, Stopped, Withheld
from generation.ports import Abstain, Delta, Usage
from generation.prompts import DONT_KNOW
from generation.providers.scripted import ScriptedModel, Step
from tests.contracts import test_chat_model as providers
from tests.generation.samples import (
    ALICE,
    BOB,
    HOLIDAY,
    PARKING,
    TENANT,
    FirstPage,
    FixedSearch,
    add_document,
    add_tenant,
    chunk_of,
    hits_of,
    remove_document,
)

T = TypeVar("T")
NOBODY = Principal(tenant=TENANT, closure=frozenset())
KEEP_SECONDS = 60.0
SPOKEN = [Delta(text="Parking costs 40 "), Delta(text="euros a month [1"), Delta(text="].")]


class House:
    """Everything that answering needs, over a real catalogue with two documents."""

    def __init__(self, database: Database) -> None:
        add_tenant(database)
        self.database = database
        self.parking, self.holiday = add_document(database), add_document(database)
        chunks = (chunk_of(PARKING, document=self.parking), chunk_of(HOLIDAY, document=self.holiday))
        self.search = FixedSearch(hits_of(*chunks))

    def answering(self, script: Sequence[Step] | ScriptedModel, *, keep_seconds: float = 30.0) -> AnswerQuestion:
        model = script if isinstance(script, ScriptedModel) else ScriptedModel(script)
        return AnswerQuestion(
            search=self.search,
            models={"scripted": model},
            default_model="scripted",
            database=self.database,
            locator=FirstPage(),
            release=lambda: UUID(int=5),
            keep_seconds=keep_seconds,
            max_question_chars=200,
        )


@pytest.fixture
def house(sqlite_database: Database) -> House:
    return House(sqlite_database)


def running(use: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(use())


async def read(
    answering: AnswerQuestion, answer: AnswerId, who: Principal = ALICE, after: int = 0
) -> list[AnswerEvent]:
    return [event async for event in answering.events(who, answer, after)]


def text_of(found: Sequence[AnswerEvent]) -> str:
    return "".join(event.data["text"] for event in found if event.type == "delta")


def test_an_answer_is_retrieval_then_text_and_citations_then_done(house: House) -> None:
    async def use() -> list[AnswerEvent]:
        answering = house.answering([*SPOKEN, Usage(prompt_tokens=5, completion_tokens=3)])
        return await read(answering, await answering.ask(ALICE, " How much is parking? "))

    found = running(use)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    kinds = [event.type for event in found]
    assert kinds[0] == "retrieval"
    assert kinds[-1] == "done"
    assert {"delta", "citation", "usage"} <= set(kinds)
    assert text_of(found) == found[-1].data["answer"] == "Parking costs 40 euros a month [1]."


def test_the_citation_is_what_the_page_draws(house: House) -> None:
    async def use() -> list[AnswerEvent]:
        answering = house.answering(SPOKEN)
        return await read(answering, await answering.ask(ALICE, "How much is parking?"))

    found = running(use)
    (citation,) = (event.data for event in found if event.type == "citation")
    assert set(citation) == {
        *("n", "document", "version", "chunk", "name", "title", "page", "span", "boxes", "quote", "hash", "verified")
    }
    assert citation["document"] == str(house.parking)
    assert citation["span"] == [0, 30]
    assert citation["quote"] == PARKING[:30]
    assert citation["page"] == 7
    assert citation["boxes"] == [{"page": 7, "x0": 0.1, "y0": 0.2, "x1": 0.9, "y1": 0.25}]
    done = found[-1].data
    assert done["citations"] == [citation]
    assert {"answer", "citations", "abstained", "model", "release", "usage", "timings_ms"} <= set(done)
    assert done["release"] == str(UUID(int=5))
    assert done["model"] == "scripted"


def test_the_result_is_the_data_of_done(house: House) -> None:
    async def use() -> tuple[object, object]:
        answering = house.answering(SPOKEN)
        answer = await answering.ask(ALICE, "How much is parking?")
        return await answering.result(ALICE, answer), (await read(answering, answer))[-1].data

    result, done = running(use)
    assert result == done


def test_an_unsupported_sentence_warns(house: House) -> None:
    async def use() -> list[AnswerEvent]:
        answering = house.answering([Delta(text="The canteen serves lobster every single day.")])
        return await read(answering, await answering.ask(ALICE, "What is for lunch?"))

    found = running(use)
    (warning,) = (event.data for event in found if event.type == "warning")
    assert warning["type"] == "unsupported_sentence"
    assert found[-1].data["answer"][warning["start"] : warning["end"]].startswith("The canteen")
    assert not found[-1].data["citations"]


@pytest.mark.parametrize("script", [[Abstain(text=DONT_KNOW)], [Delta(text=DONT_KNOW)], []])
def test_not_knowing_is_an_answer(house: House, script: list[Step]) -> None:
    async def use() -> Any:  # noqa: ANN401 - JSON
        answering = house.answering(script)
        return await answering.result(ALICE, await answering.ask(ALICE, "What is for lunch?"))

    done = running(use)
    assert done["abstained"]
    assert done["citations"] == []


def test_without_evidence_no_model_is_asked(house: House) -> None:
    model = ScriptedModel(SPOKEN)

    async def use() -> Any:  # noqa: ANN401 - JSON
        answering = house.answering(model)
        return await answering.result(NOBODY, await answering.ask(NOBODY, "How much is parking?"))

    done = running(use)
    assert (done["abstained"], done["answer"], done["citations"]) == (True, DONT_KNOW, [])
    assert model.prompts == []


@pytest.mark.parametrize("question", ["", " \n ", "x" * 201, "a\x00b", "\ud800"])
def test_a_question_that_is_none_is_refused_and_nothing_stored(house: House, question: str) -> None:
    async def use() -> int:
        answering = house.answering(SPOKEN)
        with pytest.raises(InvalidInput):
            await answering.ask(ALICE, question)
        return len(await answering.conversations(ALICE))

    assert running(use) == 0


def test_an_unknown_model_is_refused(house: House) -> None:
    async def use() -> None:
        with pytest.raises(InvalidInput, match="scripted"):
            await house.answering(SPOKEN).ask(ALICE, "Q", model="gpt-0")

    running(use)


def test_a_broken_stream_resumes_where_it_broke(house: House) -> None:
    async def use() -> None:
        flag = asyncio.Event()
        answering = house.answering([Delta(text="Bicycles are "), flag, Delta(text="free [1].")])
        answer = await answering.ask(ALICE, "Are bicycles free?")
        seen: list[AnswerEvent] = []
        stream = answering.events(ALICE, answer)
        async for event in stream:
            seen.append(event)
            if event.type == "delta":
                break
        await stream.aclose()  # type: ignore[attr-defined]  # a generator, as every async for over it needs
        flag.set()
        rest = await read(answering, answer, after=seen[-1].seq)
        assert [event.seq for event in seen + rest] == list(range(1, len(seen + rest) + 1))
        assert text_of(seen + rest) == "Bicycles are free [1]."
        again = await read(house.answering([]), answer)  # as another process reads it: from the database
        assert again == seen + rest

    running(use)


def test_many_may_read_at_once(house: House) -> None:
    async def use() -> None:
        answering = house.answering([Delta(text="Bicycles "), 0.05, Delta(text="are free [1].")])
        answer = await answering.ask(ALICE, "Are bicycles free?")
        one, other = await asyncio.gather(read(answering, answer), read(answering, answer))
        assert one == other

    running(use)


def test_nobody_else_is_told_that_it_exists(house: House) -> None:
    async def use() -> None:
        answering = house.answering(SPOKEN)
        answer = await answering.ask(ALICE, "How much is parking?")
        done: Any = await answering.result(ALICE, answer)
        conversation = ConversationId(UUID(done["conversation"]))
        for who in (BOB, NOBODY):
            for attempt in (
                answering.result(who, answer),
                answering.stop(who, answer),
                answering.conversation(who, conversation),
                answering.ask(who, "And?", conversation=conversation),
            ):
                with pytest.raises(NotFound):
                    await attempt
            assert await answering.conversations(who) == []
        with pytest.raises(NotFound):
            await answering.result(ALICE, AnswerId(uuid7()))

    running(use)


def test_stopping_ends_it_at_once_and_hangs_up_on_the_model(house: House) -> None:
    model = ScriptedModel([Delta(text="Bicycles are free [1]. "), 60.0])

    async def use() -> None:
        answering = house.answering(model)
        answer = await answering.ask(ALICE, "Are bicycles free?")
        async for event in answering.events(ALICE, answer):
            if event.type == "citation":
                await answering.stop(ALICE, answer)
        assert model.closed == 1
        found = await read(answering, answer)
        assert found[-1].type == "error"
        assert found[-1].data["code"] == "stopped"
        assert state(house, answer) == "stopped"
        with pytest.raises(Stopped):
            await answering.result(ALICE, answer)
        await answering.stop(ALICE, answer)  # twice is no error

    running(use)


def test_stopping_right_after_asking_leaves_an_end(house: House) -> None:
    async def use() -> None:
        answering = house.answering([60.0])
        answer = await answering.ask(ALICE, "Are bicycles free?")
        await answering.stop(ALICE, answer)
        assert [event.type for event in await read(answering, answer)][-1] == "error"

    running(use)


def test_stopping_what_another_process_generates_ends_it_there(house: House) -> None:
    model = ScriptedModel([Delta(text=f"Bicycles are free {n}. ") for n in range(3)] + [0.2, *SPOKEN, 60.0])

    async def use() -> None:
        here, there = house.answering(model), house.answering([])
        answer = await here.ask(ALICE, "Are bicycles free?")
        reading = asyncio.create_task(read(there, answer))
        await asyncio.sleep(0.1)
        await there.stop(ALICE, answer)
        assert (await reading)[-1].data["code"] == "stopped"
        await asyncio.wait_for(gone(here), 60)
        assert model.closed == 1

    running(use)


@pytest.mark.slow
def test_removing_the_user_ends_what_they_asked_though_the_model_says_nothing(house: House) -> None:
    model = ScriptedModel([Delta(text="Bicycles are free. "), 60.0])

    async def use() -> None:
        answering = house.answering(model)
        answer = await answering.ask(ALICE, "Are bicycles free?")
        async for event in answering.events(ALICE, answer):
            if event.type == "delta":
                break
        with house.database.transaction() as session:
            conversations.forget_users(session, TENANT, [str(ALICE.user)])
        await asyncio.wait_for(gone(answering), 60)
        assert model.closed == 1
        assert await answering.conversations(ALICE) == []

    running(use)


def test_f14_nobody_reading_for_long_enough_ends_it(house: House) -> None:
    go_on = asyncio.Event()
    model = ScriptedModel([Delta(text="Bicycles are free. "), go_on, Delta(text="Cars are not. "), asyncio.Event()])

    async def use() -> None:
        answering = house.answering(model, keep_seconds=KEEP_SECONDS)
        answer = await answering.ask(ALICE, "Are bicycles free?")
        async with aclosing(cast("AsyncGenerator[AnswerEvent]", answering.events(ALICE, answer))) as events:
            async for event in events:
                if event.type == "delta" and go_on.is_set():
                    break
                if event.type == "delta":
                    await pass_by(2 * KEEP_SECONDS)  # A slow reader is a reader.
                    go_on.set()
            else:
                pytest.fail("it ended under its reader")
        await pass_by(KEEP_SECONDS / 2)
        assert state(house, answer) == "running"
        await pass_by(KEEP_SECONDS)
        await asyncio.wait_for(gone(answering), 60)
        assert state(house, answer) == "stopped"
        assert model.closed == 1

    running(use)


def test_a_reader_who_comes_back_in_time_keeps_it_going(house: House) -> None:
    async def use() -> None:
        go_on = asyncio.Event()
        answering = house.answering([go_on, *SPOKEN], keep_seconds=KEEP_SECONDS)
        answer = await answering.ask(ALICE, "How much is parking?")
        await pass_by(KEEP_SECONDS / 2)
        reading = asyncio.create_task(read(answering, answer))
        while not answering._running[answer]._readers:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        await pass_by(KEEP_SECONDS)
        go_on.set()
        assert (await reading)[-1].type == "done"

    running(use)


def test_what_a_crash_left_running_ends_with_an_error(house: House) -> None:
    with house.database.transaction() as session:
        conversation = conversations.create_conversation(session, TENANT, owner="user:alice", question="Q")
        answer = answers.start_answer(
            session, TENANT, owner="user:alice", conversation=conversation, question="Q", model="m"
        )
        answers.append_events(session, TENANT, answer, [("delta", {"text": "half a"})])

    async def use() -> None:
        answering = house.answering([])
        assert answering.end_interrupted() == 1
        found = await read(answering, answer)
        assert [event.type for event in found] == ["delta", "error"]
        with pytest.raises(Interrupted):
            await answering.result(ALICE, answer)

    running(use)


def test_a_model_that_fails_ends_in_an_error_after_what_it_said(house: House) -> None:
    async def use() -> None:
        answering = house.answering([Delta(text="Bicycles are free [1]. "), ModelUnavailable("It broke off.")])
        answer = await answering.ask(ALICE, "Are bicycles free?")
        found = await read(answering, answer)
        assert text_of(found).startswith("Bicycles are free")
        assert found[-1].type == "error"
        assert found[-1].data["code"] == "model_unavailable"
        assert state(house, answer) == "error"
        with pytest.raises(ModelUnavailable, match="It broke off"):
            await answering.result(ALICE, answer)

    running(use)


@pytest.mark.slow
@pytest.mark.parametrize(
    "handler",
    [
        providers.silent,
        providers.stalls_in_the_middle,
        providers.resets_in_the_middle,
        providers.ends_without_an_end,
        providers.says_nonsense,
        providers.error_body_under_200,
        providers.error_event_under_200,
        providers.goes_on_for_ever,
    ],
)
def test_f13_whatever_a_provider_does_the_answer_ends_in_time_with_a_typed_error_and_no_invented_citation(
    house: House, handler: providers.Handler
) -> None:
    deadline = 0.4

    async def use() -> tuple[list[AnswerEvent], float]:
        async with providers.serving(handler) as server:
            answering = house.answering([])
            answering._models["scripted"] = providers.model_at(server.url, seconds=deadline)
            import_module("openai")  # That alone takes more than a second.
            started = time.monotonic()
            answer = await answering.ask(ALICE, "How much is parking?")
            found = await read(answering, answer)
            taken = time.monotonic() - started
            await asyncio.wait_for(gone(answering), 60)
            assert state(house, answer) == "error"
            return found, taken

    found, taken = running(use)
    assert taken < 2 * deadline + 10.0  # The first token, and one pause after it.
    assert (found[-1].type, found[-1].data["code"]) == ("error", "model_unavailable")
    assert not [event for event in found if event.type in {"citation", "done"}]
    assert text_of(found).replace("Parking", "").replace("and so on", "").replace("[?]", "").strip(" .") == ""


def test_f11_an_answer_names_the_one_release_it_was_asked_under_though_another_goes_live_meanwhile(
    house: House,
) -> None:
    """Builds and promotions are still to come: this is what holds of the row today, with one release per process."""
    live = [UUID(int=5)]

    async def use() -> tuple[Any, Any]:
        flag = asyncio.Event()
        answering = house.answering([Delta(text="Bicycles are "), flag, Delta(text="free [1].")])
        answering._release = lambda: live[0]
        answer = await answering.ask(ALICE, "Are bicycles free?")
        live[0] = UUID(int=6)
        flag.set()
        first = await answering.result(ALICE, answer)
        return first, await answering.result(ALICE, await answering.ask(ALICE, "Are bicycles free?"))

    first, second = running(use)
    assert (first["release"], second["release"]) == (str(UUID(int=5)), str(UUID(int=6)))


def test_an_error_of_ours_is_told_without_its_details(house: House) -> None:
    class Broken(FixedSearch):
        def search(self, *_: object, **__: object) -> Any:  # noqa: ANN401 - it never returns
            raise RuntimeError("secret internals")

    house.search = Broken(hits=())

    async def use() -> list[AnswerEvent]:
        answering = house.answering(SPOKEN)
        return await read(answering, await answering.ask(ALICE, "How much?"))

    (error,) = running(use)
    assert (error.type, error.data["code"]) == ("error", "internal")
    assert "secret" not in str(error.data)


def test_shutting_down_ends_what_runs_with_an_error(house: House) -> None:
    async def use() -> None:
        answering = house.answering([60.0])
        answer = await answering.ask(ALICE, "How much?")
        await asyncio.sleep(0.05)
        await answering.aclose()
        assert (await read(answering, answer))[-1].data["code"] == "interrupted"
        assert state(house, answer) == "error"

    running(use)


def test_a_conversation_remembers_and_follow_up_questions_find_their_topic(house: House) -> None:
    model = ScriptedModel(SPOKEN)

    async def use() -> None:
        answering = house.answering(model)
        first: Any = await answering.result(ALICE, await answering.ask(ALICE, "How much is parking?"))
        conversation = ConversationId(UUID(first["conversation"]))
        second = await answering.ask(ALICE, "And for visitors?", conversation=conversation)
        await answering.result(ALICE, second)
        assert house.search.queries[-1] == "parking And for visitors?"
        assert [turn.question for turn in model.prompts[-1].turns] == ["How much is parking?"]
        assert [turn.answer for turn in model.prompts[-1].turns] == ["Parking costs 40 euros a month [1]."]
        history = await answering.conversation(ALICE, conversation)
        assert [turn.question for turn in history.turns] == ["How much is parking?", "And for visitors?"]
        assert history.turns[0].citations[0]["quote"] == PARKING[:30]
        (listed,) = await answering.conversations(ALICE)
        assert (listed.id, listed.title) == (conversation, "How much is parking?")

    running(use)


def test_what_cites_a_document_that_is_no_longer_readable_is_neither_shown_nor_told_the_model(house: House) -> None:
    model = ScriptedModel(SPOKEN)

    async def use() -> None:
        answering = house.answering(model)
        answer = await answering.ask(ALICE, "How much is parking?")
        first: Any = await answering.result(ALICE, answer)
        conversation = ConversationId(UUID(first["conversation"]))
        remove_document(house.database, house.parking)
        house.search.hits = house.search.hits[1:]
        await answering.result(ALICE, await answering.ask(ALICE, "And holidays?", conversation=conversation))
        assert model.prompts[-1].turns == ()
        (withheld, _) = (await answering.conversation(ALICE, conversation)).turns
        assert (withheld.answer, withheld.withheld, withheld.citations) == (None, True, ())
        found = await read(answering, answer)
        assert [event.data.get("code") for event in found] == ["withheld"]
        assert "40 euros" not in str(found)
        with pytest.raises(Withheld):
            await answering.result(ALICE, answer)

    running(use)


def test_evidence_that_was_not_cited_counts_like_what_was(house: House) -> None:
    async def use() -> None:
        answering = house.answering(SPOKEN)
        answer = await answering.ask(ALICE, "How much is parking?")
        assert hits_in((await read(answering, answer))[0]) == [house.parking, house.holiday]
        remove_document(house.database, house.holiday)
        found = await read(answering, answer)
        assert [event.data.get("code") for event in found] == ["withheld"]
        with house.database.reading() as session:
            held = answers.get_answer(session, TENANT, owner=conversations.owner_of(ALICE), answer=answer)
        assert set(held.cited) == {house.parking, house.holiday}

    running(use)


@pytest.mark.slow
def test_a_right_revoked_while_the_answer_streams_ends_the_stream(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.reading.RECHECK_SECONDS", 0.1)  # Long over before the model says more.
    model = ScriptedModel([Delta(text="Parking costs 40 euros a month [1]. "), 3.0, Delta(text="More. "), 60.0])

    async def use() -> None:
        answering = house.answering(model)
        answer = await answering.ask(ALICE, "How much is parking?")
        kinds: list[str] = []
        async for event in answering.events(ALICE, answer):
            kinds.append(str(event.data.get("code", event.type)))
            if event.type == "citation":
                await asyncio.to_thread(remove_document, house.database, house.parking)
        assert kinds[-1] == "withheld"
        assert "More" not in text_of(await read(answering, answer))
        await answering.aclose()

    running(use)


def test_links_of_the_model_never_reach_the_reader(house: House) -> None:
    script = [Delta(text="Bicycles are free [1]. ![x](https://evil."), Delta(text="example/?q=SECRET) Bye.")]

    async def use() -> str:
        answering = house.answering(script)
        return text_of(await read(answering, await answering.ask(ALICE, "Are bicycles free?")))

    text = running(use)
    assert "evil" not in text
    assert "![" not in text


def test_many_small_deltas_are_stored_as_few_events(house: House) -> None:
    script = [Delta(text=f"word{n} ") for n in range(500)]

    async def use() -> list[AnswerEvent]:
        answering = house.answering(script)
        return await read(answering, await answering.ask(ALICE, "Talk?"))

    found = running(use)
    assert len(found) < 100
    assert text_of(found).startswith("word0 word1 word2")


def test_whoever_gives_up_while_asking_leaves_an_answer_that_ends(house: House) -> None:
    async def use() -> None:
        answering = house.answering(SPOKEN)
        task = asyncio.create_task(answering.ask(ALICE, "How much is parking?"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        async with asyncio.timeout(60):
            while (states := await turn_states(answering)) in ([], ["running"]):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert states == ["done"]

    running(use)


def hits_in(event: AnswerEvent) -> list[DocumentId]:
    return [DocumentId(UUID(hit["document"])) for hit in event.data["hits"]]


def state(house: House, answer: AnswerId) -> str:
    with house.database.reading() as session:
        return answers.get_answer(session, TENANT, owner="user:alice", answer=answer).state


async def turn_states(answering: AnswerQuestion) -> list[str]:
    return [
        turn.state
        for conversation in await answering.conversations(ALICE)
        for turn in (await answering.conversation(ALICE, conversation.id)).turns
    ]


async def pass_by(seconds: float) -> None:
    """Let the loop's clock be so much later, and whatever is due by then happen."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]
    for _ in range(5):
        await asyncio.sleep(0)


async def gone(answering: AnswerQuestion) -> None:
    """Return when nothing runs any more."""
    while answering._running:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.02)


async def searched(house: House) -> None:
    """Return when evidence was sought."""
    while not house.search.queries:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)


@pytest.mark.slow
def test_a_reader_who_is_suspended_meanwhile_sees_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.reading.RECHECK_SECONDS", 0.1)  # Long over before the model says more.
    model = ScriptedModel([Delta(text="Parking costs 40 euros a month [1]. "), 3.0, Delta(text="More. "), 60.0])
    today = [ALICE]

    async def use() -> None:
        answering = house.answering(model)
        answer = await answering.ask(ALICE, "How much is parking?")
        kinds: list[str] = []
        async for event in answering.events(ALICE, answer, today=lambda _session: today[0]):
            kinds.append(str(event.data.get("code", event.type)))
            today[0] = replace(ALICE, closure=frozenset())
        assert kinds[-1] == "withheld"
        assert kinds.count("delta") <= 2  # "More." came too late
        await answering.aclose()

    running(use)


def test_an_answer_made_from_a_purged_document_is_withheld_wherever_its_reader_left_off(house: House) -> None:
    async def use() -> None:
        answering = house.answering(SPOKEN)
        answer = await answering.ask(ALICE, "How much is parking?")
        await answering.result(ALICE, answer)
        with house.database.transaction() as session:
            assert answers.forget_document(session, TENANT, house.holiday) == 1
        remove_document(house.database, house.holiday)
        for after in (0, 99):
            with pytest.raises(Withheld):
                await read(answering, answer, after=after)

    running(use)


def test_a_reader_of_an_answer_that_nobody_generates_is_told_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.reading.SILENT_SECONDS", 0.3)
    owner = conversations.owner_of(ALICE)
    with house.database.transaction() as session:
        conversation = conversations.create_conversation(session, TENANT, owner=owner, question="?")
        answer = answers.start_answer(
            session, TENANT, owner=owner, conversation=conversation, question="?", model="scripted"
        )

    async def use() -> None:
        with pytest.raises(Interrupted):
            await read(house.answering(SPOKEN), answer)

    running(use)


def test_who_is_suspended_meets_nothing_of_the_users_own(house: House) -> None:
    suspended = replace(ALICE, closure=frozenset())

    async def use() -> None:
        answering = house.answering(SPOKEN)
        answer = await answering.ask(ALICE, "How much is parking?")
        done: Any = await answering.result(ALICE, answer)
        with pytest.raises(NotFound):
            await answering.result(suspended, answer)
        with pytest.raises(NotFound):
            await answering.stop(suspended, answer)
        with pytest.raises(NotFound):
            await answering.conversation(suspended, ConversationId(UUID(done["conversation"])))
        assert await answering.conversations(suspended) == []

    running(use)


class StallingDatabase(Database):
    """Writes when it is let: until then a writer waits, as beside an import."""

    let = threading.Event()
    refuses = False

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        assert self.let.wait(30)
        if self.refuses:
            raise Unavailable("The catalogue is busy with another write; nothing was changed. Try again.")
        with super().transaction() as session:
            yield session


@pytest.fixture
def stalling(house: House) -> Iterator[StallingDatabase]:
    """The house's database, behind a writer that is in no hurry."""
    database = StallingDatabase(house.database.engine.url.render_as_string(hide_password=False))
    database.let = threading.Event()
    house.database = database
    yield database
    database.let.set()
    database.close()


def test_evidence_is_sought_while_the_question_is_stored_and_nothing_is_said_before_it_is(
    house: House, stalling: StallingDatabase
) -> None:
    async def use() -> list[AnswerEvent]:
        answering = house.answering(SPOKEN)
        asking = asyncio.create_task(answering.ask(ALICE, "How much is parking?"))
        await searched(house)
        await asyncio.sleep(0.05)
        assert not asking.done()
        with stalling.reading() as session:
            assert not session.scalars(select(AnswerRow.id)).all()
        stalling.let.set()
        return await read(answering, await asking)

    found = running(use)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    assert found[-1].type == "done"


def test_a_question_that_cannot_be_stored_is_refused_and_leaves_nothing_running(
    house: House, stalling: StallingDatabase
) -> None:
    async def use() -> None:
        model = ScriptedModel([*SPOKEN, 60.0])
        answering = house.answering(model)
        asking = asyncio.create_task(answering.ask(ALICE, "How much is parking?"))
        await searched(house)
        stalling.refuses = True
        stalling.let.set()
        with pytest.raises(Unavailable):
            await asking
        await asyncio.wait_for(gone(answering), 60)

    running(use)
    with stalling.reading() as session:
        assert not session.scalars(select(AnswerRow.id)).all()
        assert not session.scalars(select(ConversationRow.id)).all()
