"""Processes of the tests: none outlives them, and none is left behind when it does not end as it was told."""

import ctypes
import signal
import subprocess
import sys

_LIBC = ctypes.CDLL(None)  # Looked up here: between fork and exec as little as possible happens.
PATIENCE_SECONDS = 60.0


def end_with_the_tests(number: signal.Signals = signal.SIGKILL) -> None:
    """Have Linux end this process when the tests are killed and cannot do it. Calls the kernel alone.

    For `preexec_fn`. Linux counts the thread that starts the process: start none from a thread that ends before it.
    """
    if sys.platform == "linux":
        parent_death_signal = 1
        _LIBC.prctl(parent_death_signal, number)


def ended(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a process that was told to end; one that does not is killed, and that is told."""
    try:
        return process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
