"""The near side of the fork server: starts it when first needed, hands it documents, takes back results."""

import os
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.domain import Reason
from core.errors import Unavailable
from ingestion.parsing.failures import ChildKilled, ParseFailed
from ingestion.sandbox.limits import ParserLimits
from ingestion.sandbox.messages import (
    FAILURE,
    MAX_PACKET,
    PROGRESS,
    RESULT,
    Hello,
    Report,
    Request,
    failure_from_bytes,
    take_progress,
)

_START_SECONDS = 120.0  # Imports, on a machine that is busy with something else.
_GRACE_SECONDS = 30.0  # The server kills a child that is late; whoever waits longer waits for a stuck server.
_BUSY_RETRY_SECONDS = 5.0
_PIECE = 1 << 20
_INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
_OWN = {  # Single-threaded: only then is forking safe. No secrets of ours: children could read them.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # Huge pages: a fork copies page tables, and these have a hundredth of the entries (17 ms become 4).
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONHASHSEED": "0",
}


Progressed = Callable[[float], None]


class ServerDied(Exception):
    """The fork server went away under a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a child returned, and the most memory it held, in bytes."""

    payload: bytes
    peak_rss: int


class ForkServerClient:
    """Runs tasks of one module in children of a fork server, from any thread, so many at once as `processes`."""

    def __init__(
        self, module: str, limits: ParserLimits, *, processes: int, patience_seconds: float | None = None
    ) -> None:
        self._module = module
        self._limits = limits
        self._slots = threading.BoundedSemaphore(processes)
        self._patience_seconds = patience_seconds  # how long a request waits for a slot; None: as long as it takes
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._layers: tuple[str, ...] = ()
        self._root: Path | None = None
        self._closed = False

    def run(self, path: Path, task: Mapping[str, Any], progressed: Progressed | None = None) -> Outcome:
        """Run the task over the file in a child of its own; `progressed` is told how far it says it has come.

        Raises ParseFailed for whatever becomes of the child (ChildKilled where others may have done it, or where the
        server died with it twice), OSError when the file cannot be opened, and Unavailable when the server cannot be
        started (the document is not to blame) or no slot came free in time.
        """
        if not self._slots.acquire(timeout=self._patience_seconds):
            raise Unavailable("Too many files are being worked on; try again soon.", retry_after=_BUSY_RETRY_SECONDS)
        try:
            return self._run(path, task, progressed)
        finally:
            self._slots.release()

    def _run(self, path: Path, task: Mapping[str, Any], progressed: Progressed | None) -> Outcome:
        with path.open("rb") as source:
            for _ in range(2):
                try:
                    return self._attempt(source.fileno(), task, progressed)
                except ServerDied:
                    source.seek(0)
        with self._lock:
            self._started()  # Unavailable where none can be: then the machine is to blame.
        # Counted, so that a document which ends its server does not come back for ever, and end its neighbour's work
        # each time. An innocent neighbour is tried again, in the end alone.
        raise ChildKilled(
            Reason.PARSER_CRASHED,
            "the parser's fork server died twice; look for messages about memory in the system log",
        )

    def layers(self) -> tuple[str, ...]:
        """Return the names of the protections that children run under; starts the server."""
        with self._lock:
            self._started()
            return self._layers

    def close(self) -> None:
        """End the server and its children; requests under way fail."""
        with self._lock:
            self._closed = True
            self._stop()

    def _attempt(self, source: int, task: Mapping[str, Any], progressed: Progressed | None) -> Outcome:
        with ExitStack() as stack:
            reading, writing = os.pipe()
            stack.callback(os.close, reading)
            mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(mine)
            with theirs:
                try:
                    control = self._send(self._request(task), [source, writing, theirs.fileno()])
                finally:
                    os.close(writing)
            payload = self._receive(reading, control, progressed)
            report = self._reported(mine, control)
        return self._judge(payload, report)

    def _request(self, task: Mapping[str, Any]) -> Request:
        limits = self._limits
        return Request(
            task=dict(task),
            wall_seconds=limits.wall_seconds,
            cpu_seconds=limits.cpu_seconds,
            memory_bytes=limits.memory_bytes,
            output_bytes=limits.output_bytes,
            file_bytes=limits.file_bytes,
            open_files=limits.open_files,
            scratch_bytes=limits.scratch_bytes,
            scratch_files=limits.scratch_files,
        )

    def _send(self, request: Request, descriptors: list[int]) -> socket.socket:
        with self._lock:
            control = self._started()
            try:
                socket.send_fds(control, [request.to_bytes()], descriptors)
            except OSError as error:
                self._stop()
                raise ServerDied from error
            return control

    def _receive(self, reading: int, control: socket.socket, progressed: Progressed | None) -> bytes:
        """Return what the child writes after telling of its progress.

        Raises ParseFailed (`output_too_large`) at the first byte too many.
        """
        pieces: list[bytes] = []
        head = b""  # the beginning of what may be a frame of progress
        size = 0
        deadline = time.monotonic() + self._limits.wall_seconds + _GRACE_SECONDS
        while True:
            if not select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._abandon(control)
                raise ServerDied
            piece = os.read(reading, _PIECE)
            if not piece:
                return b"".join(pieces)
            size += len(piece)
            if size > self._limits.output_bytes + 1:
                raise ParseFailed(Reason.OUTPUT_TOO_LARGE, f"more than {self._limits.output_bytes:,} bytes")
            if not pieces:
                fraction, head = take_progress(head + piece)
                if fraction is not None and progressed is not None:
                    progressed(fraction)
                if head[:1] in {b"", PROGRESS}:
                    continue
                piece = head
            pieces.append(piece)

    def _reported(self, mine: socket.socket, control: socket.socket) -> Report:
        # A child may have closed its output and gone on: the server's limits still end it.
        mine.settimeout(self._limits.wall_seconds + _GRACE_SECONDS)
        try:
            packet = mine.recv(MAX_PACKET)
        except OSError as error:
            self._abandon(control)
            raise ServerDied from error
        if not packet:
            self._abandon(control)
            raise ServerDied
        return Report.from_bytes(packet)

    def _judge(self, payload: bytes, report: Report) -> Outcome:
        if report.not_started:  # The machine is to blame.
            raise Unavailable(f"The parser's server got no process: {report.detail}.", retry_after=_BUSY_RETRY_SECONDS)
        if report.reason is not None:
            kind_of_end = ChildKilled if report.from_outside else ParseFailed
            raise kind_of_end(report.reason, report.detail, excerpt=report.excerpt)
        kind, rest = payload[:1], payload[1:]
        if kind == RESULT:
            return Outcome(payload=rest, peak_rss=report.peak_rss)
        if kind == FAILURE:
            try:
                failure = failure_from_bytes(rest)
            except ValueError as error:
                raise ParseFailed(Reason.PARSER_CRASHED, "the parser's failure cannot be read") from error
            raise failure
        raise ParseFailed(Reason.PARSER_CRASHED, "the parser ended without a result", excerpt=report.excerpt)

    def _started(self) -> socket.socket:
        """Return the control socket of a living server. The caller holds the lock."""
        if self._closed:
            raise Unavailable("The parser has been closed.")
        if self._control is not None and self._server is not None and self._server.poll() is None:
            return self._control
        self._stop()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", "ingestion.sandbox.server", str(theirs.fileno()), self._module],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ} | _OWN,
                start_new_session=True,
            )
        self._control = mine
        mine.settimeout(_START_SECONDS)
        try:
            packet = mine.recv(MAX_PACKET)
        except OSError:
            packet = b""
        mine.settimeout(None)
        if not packet:
            self._stop()
            raise Unavailable("The parser's fork server did not start; run it by hand to see why.")
        hello = Hello.from_bytes(packet)
        self._layers, self._root = hello.layers, Path(hello.root)
        return mine

    def _abandon(self, control: socket.socket) -> None:
        """Replace a server that does not answer, unless somebody has done so already."""
        with self._lock:
            if self._control is control:
                self._stop()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()  # The server ends by itself, its children with it.
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(5.0)
            except subprocess.TimeoutExpired:
                self._server.kill()
                with suppress(subprocess.TimeoutExpired):
                    self._server.wait(5.0)
            self._server = None
        if self._root is not None:  # A server that was killed has left it behind.
            with suppress(RecursionError):
                shutil.rmtree(self._root, ignore_errors=True)
            self._root = None
