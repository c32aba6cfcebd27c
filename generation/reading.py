"""Reading the log of an answer as somebody who may read less by now than when it was written."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import TypeAlias

from sqlalchemy.orm import Session

from core.db import answers, conversations
from core.db.access import readable
from core.db.answers import AnswerEvent
from core.db.session import Database
from core.domain import Principal
from core.ids import AnswerId, DocumentId
from generation import events
from generation.endings import Interrupted, Withheld

RECHECK_SECONDS = 1.0  # A right revoked while an answer streams ends the stream within so long of its next event.
SILENT_SECONDS = 120.0  # No model is quiet for so long: whoever generated this answer is gone.
_POLL_SECONDS = 0.2  # How often the log of another process's answer is read.

Today: TypeAlias = Callable[[Session], Principal]


class ReaderGate:
    """Lets through what the reader may read now, asking the catalogue again every `RECHECK_SECONDS`.

    `today` tells who the reader is by then: memberships end, users are suspended, keys revoked. Without it the reader
    stays who it was. `made_from`: documents that the answer is known to be made from before its first event.
    """

    def __init__(
        self,
        database: Database,
        principal: Principal,
        *,
        today: Today | None = None,
        made_from: Collection[DocumentId] = (),
    ) -> None:
        self._database = database
        self._principal = principal
        self._today = today or (lambda _session: principal)
        self._made_from = set(made_from)
        self._out = False
        self._readable: frozenset[DocumentId] = frozenset()
        self._checked = float("-inf")
        self.shut = False

    async def passed(self, batch: Sequence[AnswerEvent]) -> list[AnswerEvent]:
        """Return the batch; or, if the reader may no longer see it, one `error` event, and `shut` is set.

        What the model was shown counts like what it cited: its words may come from there without a marker.
        """
        for event in batch:
            if event.type in {"citation", "done"}:
                self._made_from |= events.cited_documents(event.data)
            elif event.type == "retrieval":
                self._made_from |= events.hit_documents(event.data)
        if self._made_from - self._readable or time.monotonic() - self._checked > RECHECK_SECONDS:
            self._readable = await asyncio.to_thread(self._check, frozenset(self._made_from))
            self._checked = time.monotonic()
        if self._out or self._made_from - self._readable:
            self.shut = True
            error = Withheld("This answer was made from a document that you may no longer read.")
            return [AnswerEvent(seq=max(batch[0].seq - 1, 0), type="error", data=events.error_data(error))]
        return list(batch)

    def _check(self, documents: Collection[DocumentId]) -> frozenset[DocumentId]:
        with self._database.reading() as session:
            reader = self._today(session)
            self._out = bool(self._principal.closure) and not reader.closure
            return readable(session, reader, documents)


async def stored_batches(
    database: Database, principal: Principal, answer: AnswerId
) -> AsyncIterator[list[AnswerEvent]]:
    """Follow the log in the database: of a finished answer, or of one that another process generates.

    :raises Interrupted: the answer is running, but nothing was added to it for so long that nobody generates it.
    :raises Withheld: the answer is finished and its log is empty: a document that it was made from was purged.
    """
    seen = 0
    heard = time.monotonic()

    def more() -> tuple[list[AnswerEvent], str]:
        with database.reading() as session:
            held = answers.get_answer(session, principal.tenant, owner=conversations.owner_of(principal), answer=answer)
            return answers.events_after(session, principal.tenant, answer, seen), held.state

    while True:
        batch, state = await asyncio.to_thread(more)
        if batch:
            seen, heard = batch[-1].seq, time.monotonic()
            yield batch
        if state != "running":
            if not seen:
                raise Withheld("This answer was made from a document that has been deleted.")
            return
        if time.monotonic() - heard > SILENT_SECONDS:
            raise Interrupted("Nobody goes on with this answer. Ask again.")
        await asyncio.sleep(_POLL_SECONDS)
