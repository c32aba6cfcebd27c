"""What a child does, from the fork to its end: it lets go of what it inherited, runs the task, and writes an answer."""

import faulthandler
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from core.domain import Reason
from ingestion.excerpts import of_error
from ingestion.parsing.failures import ParseFailed
from ingestion.parsing.progress import listen
from ingestion.sandbox.messages import FAILURE, RESULT, Request, failure_to_bytes, progress_to_bytes

Run = Callable[[dict[str, Any], bytes], bytes]

_TELL_SECONDS = 0.5
_INPUT, _OUTPUT = 3, 4  # A child's descriptors beside the standard ones, which lead nowhere.


def answer(run: Run, request: Request) -> None:
    """Run the task over the input and write what comes of it, a result or a failure, to the output."""
    listen(_Teller().tell)
    kind, payload = _outcome(run, request)
    with open(_OUTPUT, "wb", buffering=0) as output:
        output.write(kind)
        view = memoryview(payload)
        while view:
            view = view[output.write(view) :]


class _Teller:
    """Writes to the output how far the parser has come, now and then."""

    def __init__(self) -> None:
        self._next = 0.0

    def tell(self, fraction: float) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_SECONDS
            os.write(_OUTPUT, progress_to_bytes(fraction))  # A few bytes: all of them or none.


def _outcome(run: Run, request: Request) -> tuple[bytes, bytes]:
    try:
        with open(_INPUT, "rb") as source:
            payload = run(request.task, source.read())
    except ParseFailed as error:
        failure = error
    except MemoryError:
        failure = ParseFailed(Reason.PARSER_OOM, f"more than {request.memory_bytes // 1_000_000} MB of memory")
    except Exception as error:  # noqa: BLE001 - the parsers' defects become a reason, not a riddle
        # Its kind alone: a message may quote the document, and not all who see the detail may read that.
        failure = ParseFailed(Reason.PARSER_CRASHED, type(error).__name__, excerpt=of_error(error))
    else:
        if len(payload) <= request.output_bytes:
            return RESULT, payload
        failure = ParseFailed(Reason.OUTPUT_TOO_LARGE, f"more than {request.output_bytes:,} bytes")
    return FAILURE, failure_to_bytes(failure)


def only_descriptors(source: int, output: int, log: int) -> None:
    """Keep the input, the output and a log for last words, at fixed numbers; other standard streams lead nowhere."""
    # Out of the way of the numbers they are about to get.
    source, output, log = os.dup(source), os.dup(output), os.dup(log)
    void = os.open(os.devnull, os.O_RDWR)
    saved = [os.dup2(descriptor, 100 + place) for place, descriptor in enumerate((source, output, void, log))]
    for number, descriptor in ((_INPUT, saved[0]), (_OUTPUT, saved[1]), (0, saved[2]), (1, saved[2]), (2, saved[3])):
        os.dup2(descriptor, number)
    os.closerange(_OUTPUT + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def tell_of_faults() -> None:
    """Have Python write to the log where it was when the process dies by a signal, CPU time used up included."""
    faulthandler.enable(file=2, all_threads=False)
    faulthandler.register(signal.SIGXCPU, file=2, all_threads=False, chain=True)
