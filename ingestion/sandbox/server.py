"""The fork server: imports a module once, then forks one confined child per document. Single-threaded.

`python -P -m ingestion.sandbox.server FD MODULE`: FD is a sequenced-packet socket to the client; the server ends, and
its children with it, when the other end closes, however the client died. MODULE has `warm_up()`, called once, and
`run(task, data) -> bytes`, called in the child; `run` raises `ParseFailed` for what it can name.
"""

import contextlib
import errno
import gc
import importlib
import os
import select
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from core.domain import Reason
from ingestion.excerpts import STDERR_BYTES, of_stderr
from ingestion.priority import weigh_session
from ingestion.sandbox.answering import Run, answer, only_descriptors, tell_of_faults
from ingestion.sandbox.confinement import Layers, confine, leave_network, nobody, probe, readable_places
from ingestion.sandbox.messages import MAX_PACKET, Hello, Report, Request
from ingestion.sandbox.processes import resident, starved
from ingestion.sandbox.scratch import Scratch, TooMuch

_WATCH_MILLISECONDS = 10  # Fresh memory is faulted in at about 1 GB/s: a child overshoots its limit by some 10 MB.
_OUT_OF = {errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE}  # Of this machine, not for ever.
_LOOK_SECONDS = 0.25  # Between two looks at a child's files: a fast disk takes half a gigabyte in that time.


@dataclass(slots=True, kw_only=True)
class _Child:
    pid: int
    pidfd: int
    report: socket.socket
    scratch: Scratch
    given: tuple[int, int]
    log: IO[bytes]
    deadline: float
    request: Request
    look_at: float
    peak: int = 0
    killed_for: Reason | None = None
    detail: str = ""
    starved: bool = False


class ForkServer:
    """Serves requests from one client until it goes away."""

    def __init__(self, control: socket.socket, run: Run, layers: Layers, root: Path) -> None:
        self._control = control
        self._run = run
        self._layers = layers
        self._root = root
        self._places = readable_places()
        self._children: dict[int, _Child] = {}

    def serve(self) -> None:
        """Fork, watch and reap until the client closes the control socket."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        while True:
            for child in self._children.values():
                poller.register(child.pidfd, select.POLLIN)
                poller.register(child.report, 0)  # Only that it was closed.
            ready = {descriptor for descriptor, _ in poller.poll(_WATCH_MILLISECONDS if self._children else None)}
            for child in list(self._children.values()):
                gone = child.report.fileno() in ready
                if child.pidfd in ready:
                    poller.unregister(child.pidfd)
                    poller.unregister(child.report)
                    self._reap(child)
                else:
                    self._watch(child, abandoned=gone)
            if self._control.fileno() in ready and not self._accept():
                break
        for child in list(self._children.values()):
            self._kill(child, None)
            self._reap(child)

    def _accept(self) -> bool:
        """Take one request; return False when the client is gone."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, MAX_PACKET, 3)
        if not packet:
            return False
        source, output, report = descriptors
        request = Request.from_bytes(packet)
        reporting = socket.socket(fileno=report)
        try:
            self._fork(request, source, output, reporting)
        except OSError as error:
            with reporting:
                if error.errno not in _OUT_OF:
                    raise  # What does not come back by itself is for a new server.
                refusal = Report(
                    reason=None,
                    detail=os.strerror(error.errno),
                    excerpt=None,
                    from_outside=True,
                    peak_rss=0,
                    cpu_seconds=0.0,
                    not_started=True,
                )
                with contextlib.suppress(OSError):
                    reporting.send(refusal.to_bytes())
        finally:
            os.close(source)
            os.close(output)
        return True

    def _fork(self, request: Request, source: int, output: int, report: socket.socket) -> None:
        scratch = Scratch(self._root, nobody() if self._layers.unprivileged_user else None)
        facts = os.fstat(source)
        with contextlib.ExitStack() as made:
            made.callback(scratch.remove)
            log = made.enter_context(tempfile.TemporaryFile(dir=self._root, buffering=0))
            moment = time.monotonic()
            pid = os.fork()
            made.pop_all()  # From now on they are the child's.
        if pid == 0:
            self._be_child(request, (source, output, log.fileno()), scratch.path)
        child = _Child(
            pid=pid,
            pidfd=os.pidfd_open(pid),
            report=report,
            scratch=scratch,
            given=(facts.st_dev, facts.st_ino),
            log=log,
            deadline=moment + request.wall_seconds,
            request=request,
            look_at=moment + _LOOK_SECONDS,
        )
        self._children[pid] = child

    def _be_child(self, request: Request, descriptors: tuple[int, int, int], folder: Path) -> NoReturn:
        """Never return, whatever happens: the server's loop belongs to the server."""
        status = 1
        try:
            os.setpgid(0, 0)
            only_descriptors(*descriptors)
            tell_of_faults()
            os.environ.update(TMPDIR=str(folder), HOME=str(folder))
            tempfile.tempdir = str(folder)
            os.chdir(folder)
            confine(request, self._layers, folder, self._places)
            answer(self._run, request)
            status = 0
        except BaseException:  # noqa: BLE001 - the exit status says it
            status = 1
        finally:
            os._exit(status)

    def _watch(self, child: _Child, *, abandoned: bool) -> None:
        memory, moment = resident(child.pid), time.monotonic()
        child.peak = max(child.peak, memory)
        if memory > child.request.memory_bytes:
            self._kill(child, Reason.PARSER_OOM, f"more than {child.request.memory_bytes // 1_000_000} MB of memory")
        elif moment > child.deadline:
            child.starved = starved(child.pid, child.request.wall_seconds)
            waiting = ", most of it waiting for a processor" if child.starved else ""
            self._kill(child, Reason.PARSER_TIMEOUT, f"more than {child.request.wall_seconds:g} s{waiting}")
        elif abandoned:
            self._kill(child, None)
        elif moment > child.look_at:
            child.look_at = moment + _LOOK_SECONDS
            self._look(child)

    def _look(self, child: _Child) -> None:
        limits = child.request
        try:
            child.scratch.check(child.pid, child.given, max_bytes=limits.scratch_bytes, max_files=limits.scratch_files)
        except TooMuch as error:
            self._kill(child, Reason.OUTPUT_TOO_LARGE, str(error))
        except OSError:
            pass  # Of the server's own, as without descriptors: it looks again.

    def _kill(self, child: _Child, reason: Reason | None, detail: str = "") -> None:
        """Kill the child and, should it have got any, its children. Not yet reaped, its number is still its own."""
        if child.killed_for is None:
            child.killed_for, child.detail = reason, detail
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(OSError):
                kill(child.pid, signal.SIGKILL)

    def _reap(self, child: _Child) -> None:
        _, status, usage = os.wait4(child.pid, 0)
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        del self._children[child.pid]
        os.close(child.pidfd)
        reason, detail, from_outside = _verdict(child, status, usage.ru_utime + usage.ru_stime)
        report = Report(
            reason=reason,
            detail=detail,
            excerpt=_last_words(child.log),
            from_outside=from_outside,
            peak_rss=max(child.peak, usage.ru_maxrss * 1024),
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )
        with contextlib.suppress(Exception):  # Whatever lies there, the client waits for the report.
            child.scratch.remove()
        with child.report, contextlib.suppress(OSError):
            child.report.send(report.to_bytes())


def _verdict(child: _Child, status: int, cpu_seconds: float) -> tuple[Reason | None, str, bool]:
    """Return why the child ended, None when it ended well, and whether that may have been others' doing."""
    limits = child.request
    if child.killed_for is not None:
        return child.killed_for, child.detail, child.starved
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_seconds >= limits.cpu_seconds):
            return Reason.PARSER_TIMEOUT, f"more than {limits.cpu_seconds} s of CPU time", False
        if number == signal.SIGKILL:
            return Reason.PARSER_OOM, "killed from outside, most likely because the machine ran out of memory", True
        return Reason.PARSER_CRASHED, f"killed by {signal.Signals(number).name}", False
    code = os.waitstatus_to_exitcode(status)
    return (None, "", False) if code == 0 else (Reason.PARSER_CRASHED, f"exit status {code}", False)


def _last_words(log: IO[bytes]) -> str | None:
    with log:
        size = os.fstat(log.fileno()).st_size
        return of_stderr(os.pread(log.fileno(), STDERR_BYTES, max(0, size - STDERR_BYTES)))


def main() -> None:
    """Serve on the inherited descriptor until the client goes away."""
    control = socket.socket(fileno=int(sys.argv[1]))
    weigh_session()  # The client started it as a session of its own.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A terminal's Ctrl-C is the client's to act on.
    module = importlib.import_module(sys.argv[2])
    module.warm_up()
    layers = probe(network_namespace=leave_network())
    with tempfile.TemporaryDirectory(prefix="footnote-parse-", ignore_cleanup_errors=True) as root:
        Path(root).chmod(0o711)
        gc.collect()
        gc.freeze()  # What was imported stays shared with every child.
        control.send(Hello(layers=layers.names(), root=root).to_bytes())
        ForkServer(control, module.run, layers, Path(root)).serve()


if __name__ == "__main__":
    main()
