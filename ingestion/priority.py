"""Who gets the processor: whoever asks questions before whoever takes documents in."""

import contextlib
import os
from pathlib import Path

IDLE_NICENESS = 19


def yield_to_everybody() -> None:
    """Run only when nobody else wants the processor: no question waits for an import."""
    os.nice(IDLE_NICENESS)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def weigh_session() -> None:
    """Give this process' session its own niceness: Linux shares out between sessions first, whatever runs in them.

    For a session that is this program's alone.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(os.getpriority(os.PRIO_PROCESS, 0)))
