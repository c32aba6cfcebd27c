"""Writers that come together share one flush; readers come in between.

A flush costs some 10 ms however little there is to flush, and holds the GIL. While one runs, requests wait at the
socket; whatever they bring is applied together after it and flushed once.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import qdrant_edge as edge

from retrieval.index.service.collections import Collection
from retrieval.index.service.watch import end_process

READER_TURNS = 8  # Accepted, connected, read, handed to a task, answered; a turn without work costs some 20 us.
GATHER_SECONDS = 0.004  # A client's time from one answer to its next write: less than a flush.
GATHER_LOOKS = 8
GROUP_SECONDS = 0.05  # The first writer of a group waits no longer for those that came after it.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    collection: Collection
    operations: Iterator[edge.UpdateOperation]
    done: asyncio.Future[None]


class GroupCommit:
    """Applies writes in the order in which they come. Belongs to one event loop, which also makes all reads.

    `died` is told when the engine panics under a write: from then on no write would ever be answered.
    """

    def __init__(self, died: Callable[[str], None] = end_process) -> None:
        self._queue: asyncio.Queue[_Write | None] = asyncio.Queue()
        self._died = died
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def write(self, collection: Collection, operations: Iterable[edge.UpdateOperation]) -> None:
        """Return when the operations are applied and on disk.

        :raises Refusal: they are not. Those before the one that failed may be: write it again.
        """
        done = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Write(collection=collection, operations=iter(operations), done=done))
        await done

    async def aclose(self) -> None:
        """Finish what has come."""
        self._queue.put_nowait(None)
        await self._task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._died(f"the writer died: {type(error).__name__}")

    async def _run(self) -> None:
        expected = 1  # as many as came together last time: who was answered then may be about to write again
        while (first := await self._queue.get()) is not None:
            group, until, ending = [first], time.monotonic() + GROUP_SECONDS, False
            await _apply(first)
            while not ending and time.monotonic() < until and await self._more(wait=len(group) < expected):
                following = self._queue.get_nowait()
                if following is None:
                    ending = True
                else:
                    await _apply(following)
                    group.append(following)
            expected = len(group)
            _flush([write for write in group if not write.done.done()])
            if ending:
                return

    async def _more(self, *, wait: bool) -> bool:
        """Tell whether another write has come; `wait`: give it a moment to."""
        for _ in range(GATHER_LOOKS if wait else 0):
            if not self._queue.empty():
                break
            await asyncio.sleep(GATHER_SECONDS / GATHER_LOOKS)
        return not self._queue.empty()


async def _apply(write: _Write) -> None:
    try:
        for operation in write.operations:
            write.collection.update(operation)
            await _let_readers_in()
    except Exception as error:  # noqa: BLE001 - told to the one who waits for it; the others' writes go on
        if not write.done.done():
            write.done.set_exception(error)


async def _let_readers_in() -> None:
    """Turn the loop until a question that has come by now, on a new connection even, is answered."""
    for _ in range(READER_TURNS):
        await asyncio.sleep(0)


def _flush(applied: list[_Write]) -> None:
    for collection in {write.collection for write in applied}:
        failed: Exception | None = None
        try:
            collection.flush()
        except Exception as error:  # noqa: BLE001 - told to all who wait for it
            failed = error
        for write in applied:
            if write.collection is collection and not write.done.done():
                write.done.set_result(None) if failed is None else write.done.set_exception(failed)
