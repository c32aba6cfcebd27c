"""A part that asked to be left alone is left alone: by the work that it refused, and by all that would come next."""

import time

LONGEST_SECONDS = 60.0  # Whoever asks for more is tried now and then nevertheless: it may be back at any moment.


class Rest:
    """Until when this process leaves a part alone. Safe for many threads: each sees some moment that was asked for."""

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float | None) -> None:
        """Leave the part alone for so long from now; None was not asked for, and changes nothing."""
        if seconds is not None:
            self._until = max(self._until, time.monotonic() + min(seconds, LONGEST_SECONDS))

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._until
