"""A place beside the others for one long document at a time, so that no short one waits until it is done."""

import threading
from collections.abc import Callable, Sequence

from core.db.stages import ClaimedStage
from core.errors import Unavailable
from retrieval.ports import Tokenizer

_PATIENCE_SECONDS = 5.0  # Which a long document gets to notice that it is to stop.


class Interrupted(Exception):
    """The worker ends: the work is to be given back, and begun anew by another."""


class PlaceBeside:
    """Runs work for one stage at a time in a thread of its own; who comes meanwhile is sent away."""

    def __init__(self) -> None:
        self._taken = threading.Lock()
        self._stage: ClaimedStage | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def busy(self) -> bool:
        return self._taken.locked()

    def has(self, stage: ClaimedStage) -> bool:
        """Whether the stage is being worked on here, so that its lease is not the caller's to end."""
        return self._stage is stage

    def offer(self, stage: ClaimedStage, work: Callable[[ClaimedStage], None]) -> bool:
        """Begin the work, unless other work is under way; return whether it has begun. The work must not raise.

        :raises Unavailable: this machine has no thread to spare now; the place is free as before.
        """
        if not self._taken.acquire(blocking=False):
            return False
        thread = threading.Thread(target=self._run, args=(stage, work), name="long-document", daemon=True)
        self._stage = stage
        try:
            thread.start()
        except RuntimeError as error:
            self._stage = None
            self._taken.release()
            raise Unavailable("No thread could be started for a long document.") from error
        self._thread = thread
        return True

    def wait(self) -> None:
        """Return when nothing is under way."""
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise `Interrupted` when the work is to stop; to be called every second or so."""
        if self._stopping.is_set():
            raise Interrupted

    def stop(self) -> None:
        """Have the work given back. What does not notice in time dies with the process, and its lease lapses."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_SECONDS)

    def _run(self, stage: ClaimedStage, work: Callable[[ClaimedStage], None]) -> None:
        try:
            work(stage)
        finally:
            self._stage = None
            self._taken.release()


class WatchedTokenizer:
    """A tokenizer that tells how many characters it is about to read each time."""

    def __init__(self, tokenizer: Tokenizer, reads: Callable[[int], None]) -> None:
        self._tokenizer = tokenizer
        self._reads = reads

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special tokens excluded."""
        return self._tokenizer.count(texts)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return the half-open code-point range of every token of the text, in order; never truncated."""
        self._reads(len(text))
        return self._tokenizer.offsets(text)
