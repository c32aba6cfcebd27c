"""What the kernel tells of a child: a hundred times a second, so the files are read plainly."""

import os
import resource
from pathlib import Path

_STARVED = 0.5  # Of its time a child spent waiting for a processor: then the machine was too slow, not the document.
_PAGE = resource.getpagesize()


def resident(pid: int) -> int:
    """Return the process's resident memory in bytes; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 - a hundred times a second
            return int(statm.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0  # It is about to be reaped.


def starved(pid: int, seconds: float) -> bool:
    """Whether the process, after so many seconds, wants to run and got no processor for most of them.

    The kernel counts waiting only once it is over: who has hardly run and is ready to run is waiting still.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system time
    return fields[0] == "R" and used < (1 - _STARVED) * seconds
