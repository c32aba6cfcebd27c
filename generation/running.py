"""A generation that runs in this process, and who reads it. Used from one event loop."""

import asyncio

from core.errors import FootnoteError
from generation.answer_log import LiveAnswer
from generation.endings import Stopped


class Running:
    """A generation of this process: its log, its task, and who reads."""

    def __init__(self, live: LiveAnswer, keep_seconds: float) -> None:
        self.live = live
        self.task: asyncio.Task[None] | None = None
        self.reason: FootnoteError = Stopped("The answer was stopped.")
        self._ending = False
        self._keep_seconds = keep_seconds
        self._readers = 0
        self._timer: asyncio.TimerHandle | None = None

    def joined(self) -> None:
        """One reader more."""
        self._readers += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def left(self) -> None:
        """One reader less (or none yet): when nobody reads for long enough, generating is a waste."""
        self._readers = max(self._readers - 1, 0)
        if self._readers == 0 and not self._ending:
            self._timer = asyncio.get_running_loop().call_later(self._keep_seconds, self.cancel, _lost())

    def cancel(self, reason: FootnoteError) -> None:
        """End the generation for this reason, unless it is writing its end already."""
        if self.task is not None and not self.task.done() and not self._ending:
            self.reason = reason
            self.task.cancel()

    def end(self) -> None:
        """From now on the generation cannot be cancelled, and waits for no reader."""
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()


def _lost() -> FootnoteError:
    return Stopped("Nobody was reading any more, so the answer was stopped.")
