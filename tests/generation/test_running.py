import asyncio
from typing import cast

from generation.answer_log import LiveAnswer
from generation.endings import Interrupted, Stopped
from generation.running import Running

NO_LOG = cast("LiveAnswer", None)  # Who reads is counted without it.


def test_it_is_cancelled_when_nobody_has_read_for_long_enough() -> None:
    async def use() -> None:
        running = Running(NO_LOG, keep_seconds=0.05)
        running.task = asyncio.create_task(asyncio.sleep(60))
        running.joined()
        await asyncio.sleep(0.1)
        assert not running.task.cancelled()
        running.left()
        await asyncio.wait({running.task}, timeout=5)
        assert running.task.cancelled()
        assert isinstance(running.reason, Stopped)

    asyncio.run(use())


def test_the_first_reason_that_cancels_is_kept_for_the_end() -> None:
    async def use() -> None:
        running = Running(NO_LOG, keep_seconds=60)
        running.task = asyncio.create_task(asyncio.sleep(60))
        running.cancel(Interrupted("down"))
        await asyncio.wait({running.task})
        running.cancel(Stopped("late"))
        assert isinstance(running.reason, Interrupted)
        running.end()

    asyncio.run(use())


def test_what_writes_its_end_is_not_cancelled_any_more() -> None:
    async def use() -> None:
        running = Running(NO_LOG, keep_seconds=60)
        running.task = asyncio.create_task(asyncio.sleep(0.01))
        running.end()
        running.cancel(Stopped("too late"))
        await running.task

    asyncio.run(use())
