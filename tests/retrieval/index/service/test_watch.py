import asyncio
import threading

from retrieval.index.service.watch import LoopWatch


def test_a_loop_that_does_not_turn_ends_the_process() -> None:
    ends: list[str] = []
    ended = threading.Event()

    def end(reason: str) -> None:
        ends.append(reason)
        ended.set()

    async def hang() -> None:
        LoopWatch(asyncio.get_running_loop(), end=end, look_seconds=0.02, patience=5).start()
        assert ended.wait(60)  # Blocks the loop, as an engine that waits for ever would.

    asyncio.run(hang())
    assert ends == ["the event loop does not turn any more"]


class Looks(threading.Event):
    """Lets the watch look when the test says so, not when some time has gone by."""

    def __init__(self) -> None:
        super().__init__()
        self._asked, self._due = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self._asked.release()
        self._due.acquire()
        return self.is_set()

    def asked(self) -> None:
        """Return once the loop has been asked, and the watch waits."""
        assert self._asked.acquire(timeout=60)

    def due(self) -> None:
        """Let the watch look whether the loop has answered."""
        self._due.release()


def test_a_loop_that_is_late_now_and_then_goes_on() -> None:
    ends: list[str] = []

    async def work() -> None:
        watch = LoopWatch(asyncio.get_running_loop(), end=ends.append, patience=5)
        watch._stopping = looks = Looks()
        watch.start()
        for _ in range(10):
            for _ in range(4):  # Late is not dead.
                looks.asked()
                looks.due()
            looks.asked()
            await asyncio.sleep(0)
            looks.due()
        looks.asked()
        watch.stop()
        looks.due()
        watch._thread.join()

    asyncio.run(work())
    assert ends == []
