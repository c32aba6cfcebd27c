"""A question's way out: guard, search, pack, generate, bind, log. The log is the truth; streams only read it."""

import asyncio
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from core.db import answers, conversations
from core.db.answers import AnswerEvent
from core.db.conversations import Conversation
from core.db.session import Database
from core.domain import Principal
from core.errors import FootnoteError, InvalidInput, NotFound
from core.ids import AnswerId, ConversationId, uuid7
from generation import events
from generation.answer_log import Ending, LiveAnswer
from generation.endings import Interrupted, Stopped
from generation.history import KEPT_TURNS, PastTurn, past_turns
from generation.ports import ChatModel, EvidenceSearch, PageLocator
from generation.prompts import PROMPT_VERSION
from generation.reading import ReaderGate, Today, stored_batches
from generation.running import Running
from generation.speaking import Question, Speaker

log = structlog.get_logger()

WATCH_SECONDS = 1.0  # A stop in another process takes hold within so long.
_LISTED_CONVERSATIONS = 100
_ALLOWED_CONTROLS = "\n\t\r"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationHistory:
    """A conversation and its turns, oldest first, as the asker may see them now."""

    conversation: Conversation
    turns: tuple[PastTurn, ...]


def checked_question(question: str, *, max_chars: int) -> str:
    """Return the question without white space around it.

    :raises InvalidInput: it is empty, too long, or holds control characters or halves of characters.
    """
    if len(question) > max_chars:
        raise InvalidInput(f"The question is longer than {max_chars:,} characters; shorten it.")
    stripped = question.strip()
    if not stripped:
        raise InvalidInput("The question is empty.")
    if any(
        unicodedata.category(character) in {"Cc", "Cs"} for character in stripped if character not in _ALLOWED_CONTROLS
    ):
        raise InvalidInput("The question holds control characters.")
    return stripped


class AnswerQuestion:
    """Asks models on behalf of principals. One per process; all its coroutines belong to one event loop.

    Generating is a task of its own: readers come, go and come back, and find everything in the log.
    """

    def __init__(
        self,
        *,
        search: EvidenceSearch,
        models: Mapping[str, ChatModel],
        default_model: str,
        database: Database,
        locator: PageLocator,
        release: Callable[[], UUID | None] = lambda: None,
        keep_seconds: float = 30.0,
        max_question_chars: int = 8_000,
    ) -> None:
        self._models = dict(models)
        self._default_model = default_model
        self._database = database
        self._release = release
        self._keep_seconds = keep_seconds
        self._max_question_chars = max_question_chars
        self._speaker = Speaker(search=search, locator=locator)
        self._running: dict[AnswerId, Running] = {}

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names that `model` may have, the default first."""
        return (self._default_model, *(name for name in self._models if name != self._default_model))

    def end_interrupted(self) -> int:
        """End what a crash left running, with an `error` event; return how many answers that were.

        For the start of the only process that generates answers over this database.
        """
        error = Interrupted("The service was restarted while it answered. Ask again.")
        with self._database.transaction() as session:
            return answers.end_interrupted(session, ("error", events.error_data(error)))

    async def ask(
        self,
        principal: Principal,
        question: str,
        *,
        conversation: ConversationId | None = None,
        model: str | None = None,
    ) -> AnswerId:
        """Start to answer and return the answer's id; read it with `events` or `result`.

        :raises InvalidInput: the question or the model's name is not valid; nothing was stored.
        :raises NotFound: the conversation does not exist, or is somebody else's.
        """
        asked = checked_question(question, max_chars=self._max_question_chars)
        name = model or self._default_model
        if name not in self._models:
            raise InvalidInput(f"There is no model {name[:80]!r}. There is: {', '.join(self.model_names)}.")
        # Shielded: whoever loses patience now leaves an answer that goes on, not a row that nobody works on.
        starting = self._start(principal, asked, conversation, self._models[name])
        return await asyncio.shield(asyncio.create_task(starting))

    async def _start(
        self, principal: Principal, asked: str, conversation: ConversationId | None, chat_model: ChatModel
    ) -> AnswerId:
        started = time.perf_counter()
        job = await asyncio.to_thread(self._question, principal, asked, conversation)
        # Sought while it is stored: beside an import a commit takes as long as the search. Nothing is said before both.
        stored = asyncio.create_task(asyncio.to_thread(self._store, job, chat_model), name=f"store-{job.answer}")
        live = LiveAnswer(
            database=self._database,
            tenant=principal.tenant,
            answer=job.answer,
            owner=conversations.owner_of(principal),
            model=chat_model.id,
            stored=stored,
        )
        running = Running(live, self._keep_seconds)
        self._running[job.answer] = running
        running.task = asyncio.create_task(
            self._generate(running, job, chat_model, started, stored), name=f"answer-{job.answer}"
        )
        await stored
        running.left()  # From now on somebody can read it, and it is not generated for nobody.
        return job.answer

    async def events(
        self, principal: Principal, answer: AnswerId, after: int = 0, *, today: Today | None = None
    ) -> AsyncIterator[AnswerEvent]:
        """Yield the events after number `after` as they come, until `done` or `error`. Any number may read at once.

        An answer made from what the reader may no longer read, or that was deleted, ends with an `error` of code
        `withheld`. `today` returns the reader as the directory has it then, asked at most once a second; an empty
        closure by then ends the stream too.

        :raises NotFound: there is no such answer, or it is somebody else's.
        :raises Interrupted, Withheld: nobody goes on with it; what it was made from was purged.
        """
        held = await asyncio.to_thread(self._owned, principal, answer)
        running = self._running.get(answer)
        batches = stored_batches(self._database, principal, answer) if running is None else running.live.follow(0)
        if running is not None:
            running.joined()
        gate = ReaderGate(self._database, principal, today=today, made_from=held.cited)
        try:
            async for batch in batches:
                for event in await gate.passed(batch):
                    if event.seq > after or gate.shut:
                        yield event
                if gate.shut:
                    return
        finally:
            if running is not None:
                running.left()

    async def stop(self, principal: Principal, answer: AnswerId) -> None:
        """End the answer at once, and with it the request to the provider; a finished one stays as it is.

        :raises NotFound: there is no such answer, or it is somebody else's.
        """
        await asyncio.to_thread(self._owned, principal, answer)
        running = self._running.get(answer)
        if running is None:
            await asyncio.to_thread(self._stop_elsewhere, principal, answer)
            return
        running.cancel(Stopped("The answer was stopped."))
        if running.task is not None:
            await asyncio.wait({running.task})

    async def result(
        self, principal: Principal, answer: AnswerId, *, today: Today | None = None
    ) -> Mapping[str, object]:
        """Wait for the end and return the whole answer, the data of `done`.

        :raises NotFound: there is no such answer, or it is somebody else's.
        :raises FootnoteError: it did not end well: what the `error` event tells.
        """
        last: AnswerEvent | None = None
        async for event in self.events(principal, answer, today=today):
            last = event
        if last is None or last.type not in events.FINAL:
            raise Interrupted("The answer ended without an end. Ask again.")
        if last.type == "error":
            raise events.error_of(last.data)
        return last.data

    async def conversations(self, principal: Principal) -> list[Conversation]:
        """Return the principal's conversations, the one last spoken in first; none for an empty closure."""
        if not principal.closure:
            return []

        def listed() -> list[Conversation]:
            with self._database.reading() as session:
                owner = conversations.owner_of(principal)
                return conversations.list_conversations(
                    session, principal.tenant, owner=owner, limit=_LISTED_CONVERSATIONS
                )

        return await asyncio.to_thread(listed)

    async def conversation(self, principal: Principal, conversation: ConversationId) -> ConversationHistory:
        """Return the conversation; an answer that cites what is no longer readable is withheld.

        :raises NotFound: there is no such conversation, or it is somebody else's.
        """

        def history() -> ConversationHistory:
            with self._database.reading() as session:
                found = conversations.get_conversation(
                    session, principal.tenant, owner=conversations.owner_of(principal), conversation=conversation
                )
                return ConversationHistory(
                    conversation=found, turns=past_turns(session, principal, conversation, limit=None, citations=True)
                )

        return await asyncio.to_thread(history)

    async def aclose(self) -> None:
        """End every generation of this process; their readers get an `error` event."""
        ended = list(self._running.values())
        for running in ended:
            running.cancel(Interrupted("The service is shutting down. Ask again."))
        await asyncio.gather(*(running.task for running in ended if running.task is not None), return_exceptions=True)

    def _question(self, principal: Principal, asked: str, conversation: ConversationId | None) -> Question:
        past: tuple[PastTurn, ...] = ()
        if conversation is not None:
            with self._database.reading() as session:
                past = past_turns(session, principal, conversation, limit=KEPT_TURNS)
        return Question(
            principal=principal,
            text=asked,
            answer=AnswerId(uuid7()),
            conversation=conversation or ConversationId(uuid7()),
            begins=conversation is None,
            release=self._release(),
            past=past,
        )

    def _store(self, job: Question, model: ChatModel) -> None:
        tenant, owner = job.principal.tenant, conversations.owner_of(job.principal)
        with self._database.transaction() as session:
            if job.begins:
                conversations.create_conversation(
                    session, tenant, owner=owner, question=job.text, conversation=job.conversation
                )
            answers.start_answer(
                session,
                tenant,
                owner=owner,
                conversation=job.conversation,
                question=job.text,
                model=model.id,
                release=job.release,
                prompt_version=PROMPT_VERSION,
                answer=job.answer,
            )

    async def _generate(
        self, running: Running, job: Question, model: ChatModel, started: float, stored: asyncio.Task[None]
    ) -> None:
        live = running.live
        watch = asyncio.create_task(self._watch(running, job, stored))
        try:
            ending = await self._speaker.speak(job, model=model, log=live, started=started)
        except asyncio.CancelledError:
            stopped = isinstance(running.reason, Stopped)
            ending = _failed(running.reason, state="stopped" if stopped else "error")
        except FootnoteError as error:
            log.warning("answer_failed", answer=str(job.answer), code=error.code)
            ending = _failed(error)
        except Exception:
            log.exception("answer_failed", answer=str(job.answer), code=FootnoteError.code)
            ending = _failed(FootnoteError("The question could not be answered; the log of the service says why."))
        finally:
            watch.cancel()
            running.end()
        try:
            await live.end(ending)
        finally:
            self._running.pop(job.answer, None)

    async def _watch(self, running: Running, job: Question, stored: asyncio.Task[None]) -> None:
        """End the generation when its answer was ended elsewhere: stopped by another process, or removed."""
        await asyncio.wait({stored})
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(running.live.stale.wait(), WATCH_SECONDS)
                break
            with suppress(FootnoteError):
                try:
                    held = await asyncio.to_thread(self._owned, job.principal, job.answer)
                except NotFound:  # It went with its conversation, or with its user.
                    break
                if held.state != "running":
                    break
        running.cancel(Stopped("The answer was stopped."))

    def _owned(self, principal: Principal, answer: AnswerId) -> answers.Answer:
        with self._database.reading() as session:
            return answers.get_answer(session, principal.tenant, owner=conversations.owner_of(principal), answer=answer)

    def _stop_elsewhere(self, principal: Principal, answer: AnswerId) -> None:
        ending = events.error_data(Stopped("The answer was stopped."))
        with self._database.transaction() as session:
            held = answers.get_answer(session, principal.tenant, owner=conversations.owner_of(principal), answer=answer)
            if held.state == "running":
                answers.append_events(session, principal.tenant, answer, [("error", ending)])
                answers.finish_answer(session, principal.tenant, answer, state="stopped", text=None)


def _failed(error: FootnoteError, *, state: answers.AnswerState = "error") -> Ending:
    return Ending(event=("error", events.error_data(error)), state=state)
