"""The log of one answer while it is generated: appended in batches, told to readers once it is durable."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from core.db import answers
from core.db.answers import AnswerEvent, AnswerState
from core.db.session import Database
from core.errors import Conflict, FootnoteError
from core.ids import AnswerId, DocumentId, TenantId
from generation.events import error_data
from generation.ports import Usage

log = structlog.get_logger()

COMMIT_SECONDS = 0.015  # At most one commit in so long; the first delta goes at once.
CLOSE_DELAYS = (0.2, 1.0, 5.0, *(30.0 for _ in range(120)))  # An hour; a restart ends what is running then.

Event = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an answer ends: its last event and what its row remembers."""

    event: Event
    state: AnswerState
    text: str | None = None
    abstained: bool = False
    cited: Collection[DocumentId] = ()
    usage: Usage = field(default_factory=Usage)


class LiveAnswer:
    """The answer that a task of this process generates. Used from one event loop; commits happen in threads.

    `stale` is set when the log was closed by somebody else, such as a stop in another process: nothing that is added
    any more will be kept. Nothing is written before the answer is `stored`; where that fails, nothing ever is.
    """

    def __init__(
        self,
        *,
        database: Database,
        tenant: TenantId,
        answer: AnswerId,
        owner: str,
        model: str,
        stored: Awaitable[None] | None = None,
    ) -> None:
        self._database = database
        self._tenant = tenant
        self._answer = answer
        self._owner = owner
        self._model = model
        self._stored = stored
        self._committed: list[AnswerEvent] = []
        self._pending: list[Event] = []
        self._ending: Ending | None = None
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()
        self._closed = False
        self.failure: FootnoteError | None = None
        self.stale = asyncio.Event()
        self._closer: asyncio.Task[None] | None = None
        self._writer = asyncio.create_task(self._write(), name=f"answer-log-{answer}")

    def add(self, kind: str, data: Mapping[str, Any]) -> None:
        """Append an event; deltas that wait for the same commit become one."""
        if kind == "delta" and self._pending and self._pending[-1][0] == "delta":
            self._pending[-1][1]["text"] += data["text"]
        else:
            self._pending.append((kind, dict(data)))
        self._wake.set()

    async def end(self, ending: Ending) -> None:
        """Append the last event, set the answer's state in the same commit, and return when that is durable."""
        self._ending = ending
        self._hurry.set()
        self._wake.set()
        await asyncio.shield(self._writer)

    async def follow(self, after: int) -> AsyncIterator[list[AnswerEvent]]:
        """Yield what is committed beyond `after`, as it comes, in batches, until the end.

        :raises FootnoteError: the log could not be written; the stream cannot go on.
        """
        position = max(after, 0)
        while True:
            changed = self._changed
            batch = self._committed[position:]
            if batch:
                position += len(batch)
                yield batch
            elif self._closed:
                if self.failure is not None:
                    raise self.failure
                return
            else:
                await changed.wait()

    async def _write(self) -> None:
        if self._stored is not None:
            try:
                await asyncio.shield(self._stored)
            except Exception as error:  # noqa: BLE001 - whoever asked is told which it was
                self.failure = error if isinstance(error, FootnoteError) else FootnoteError("It could not be stored.")
                self.stale.set()
                self._closed = True
                self._tell()
                return
        try:
            while not self._closed:
                await self._wake.wait()
                self._wake.clear()
                ending, batch = self._ending, self._pending
                self._pending = []
                started = time.monotonic()
                self._committed.extend(await asyncio.to_thread(self._commit, batch, ending))
                self._closed = ending is not None
                self._tell()
                if not self._closed:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._hurry.wait(), COMMIT_SECONDS - (time.monotonic() - started))
        except FootnoteError as error:
            self.failure = error
        except Exception as error:
            log.exception("answer_log_failed", answer=str(self._answer))
            self.failure = FootnoteError("The answer could not be stored.")
            self.failure.__cause__ = error
        finally:
            if self.failure is not None:
                self.stale.set()
                if not isinstance(self.failure, Conflict):  # somebody else ended it
                    self._closer = asyncio.create_task(self._close_later(self.failure))
            self._closed = True
            self._tell()

    async def _close_later(self, failure: FootnoteError) -> None:
        """End the answer once the log can be written again: a row that stays `running` would be waited for."""
        ending = Ending(event=("error", error_data(failure)), state="error")
        for delay in CLOSE_DELAYS:
            await asyncio.sleep(delay)
            try:
                await asyncio.to_thread(self._commit, [], ending)
            except Conflict:
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it may be over at the next attempt
                log.warning("answer_not_ended", answer=str(self._answer), error=type(error).__name__)
            else:
                return

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _commit(self, batch: list[Event], ending: Ending | None) -> list[AnswerEvent]:
        events = [*batch, ending.event] if ending else batch
        if not events:
            return []
        with self._database.transaction() as session:
            committed = answers.append_events(session, self._tenant, self._answer, events)
            if ending is not None:
                answers.finish_answer(
                    session,
                    self._tenant,
                    self._answer,
                    state=ending.state,
                    text=ending.text,
                    abstained=ending.abstained,
                    cited=ending.cited,
                )
                if ending.usage != Usage():
                    answers.record_usage(
                        session,
                        self._tenant,
                        owner=self._owner,
                        model=self._model,
                        prompt_tokens=ending.usage.prompt_tokens,
                        completion_tokens=ending.usage.completion_tokens,
                    )
        return committed
