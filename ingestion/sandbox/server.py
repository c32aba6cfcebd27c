"""The fork server: imports a module once, then forks one confined child per document. Single-threaded.

`python -P -m ingestion.sandbox.server FD MODULE`: FD is a sequenced-packet socket to the client; the server ends, and
its children with it, when the other end closes, however the client died. MODULE has `warm_up()`, called once, and
`run(task, data) -> bytes`, called in the child; `run` raises `ParseFailed` for what it can name.
"""

import contextlib
import gc
import importlib
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from core.domain import Reason
from ingestion.parsing.failures import ParseFailed
from ingestion.priority import weigh_session
from ingestion.sandbox.confinement import Layers, confine, leave_network, nobody, probe, readable_places
from ingestion.sandbox.messages import FAILURE, MAX_PACKET, RESULT, Hello, Report, Request, failure_to_bytes

Run = Callable[[dict[str, Any], bytes], bytes]

_WATCH_MILLISECONDS = 10  # Fresh memory is faulted in at about 1 GB/s: a child overshoots its limit by some 10 MB.
_STARVED = 0.5  # Of its time a child spent waiting for a processor: then the machine was too slow, not the document.
_PAGE = resource.getpagesize()
_INPUT, _OUTPUT = 3, 4  # A child's descriptors beside the standard ones, which lead nowhere.


@dataclass(slots=True, kw_only=True)
class _Child:
    pid: int
    pidfd: int
    report: socket.socket
    folder: Path
    deadline: float
    request: Request
    peak: int = 0
    killed_for: Reason | None = field(default=None)
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
        try:
            self._fork(request, source, output, socket.socket(fileno=report))
        finally:
            os.close(source)
            os.close(output)
        return True

    def _fork(self, request: Request, source: int, output: int, report: socket.socket) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._root))
        if self._layers.unprivileged_user:
            os.chown(folder, *nobody())
        deadline = time.monotonic() + request.wall_seconds
        pid = os.fork()
        if pid == 0:
            self._be_child(request, source, output, folder)
        child = _Child(
            pid=pid, pidfd=os.pidfd_open(pid), report=report, folder=folder, deadline=deadline, request=request
        )
        self._children[pid] = child

    def _be_child(self, request: Request, source: int, output: int, folder: Path) -> NoReturn:
        """Never return, whatever happens: the server's loop belongs to the server."""
        status = 1
        try:
            os.setpgid(0, 0)
            _only_descriptors(source, output)
            os.environ.update(TMPDIR=str(folder), HOME=str(folder))
            tempfile.tempdir = str(folder)
            os.chdir(folder)
            confine(request, self._layers, folder, self._places)
            _answer(self._run, request)
            status = 0
        except BaseException:  # noqa: BLE001 - the exit status says it
            status = 1
        finally:
            os._exit(status)

    def _watch(self, child: _Child, *, abandoned: bool) -> None:
        resident = _resident(child.pid)
        child.peak = max(child.peak, resident)
        if resident > child.request.memory_bytes:
            self._kill(child, Reason.PARSER_OOM)
        elif time.monotonic() > child.deadline:
            child.starved = _starved(child.pid, child.request.wall_seconds)
            self._kill(child, Reason.PARSER_TIMEOUT)
        elif abandoned:
            self._kill(child, None)

    def _kill(self, child: _Child, reason: Reason | None) -> None:
        """Kill the child and, should it have got any, its children. Not yet reaped, its number is still its own."""
        child.killed_for = child.killed_for or reason
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
            from_outside=from_outside,
            peak_rss=max(child.peak, usage.ru_maxrss * 1024),
            cpu_seconds=usage.ru_utime + usage.ru_stime,
        )
        shutil.rmtree(child.folder, ignore_errors=True)
        with child.report, contextlib.suppress(OSError):
            child.report.send(report.to_bytes())


def _verdict(child: _Child, status: int, cpu_seconds: float) -> tuple[Reason | None, str, bool]:
    """Return why the child ended, None when it ended well, and whether that may have been others' doing."""
    limits = child.request
    if child.killed_for is Reason.PARSER_OOM:
        return Reason.PARSER_OOM, f"more than {limits.memory_bytes // 1_000_000} MB of memory", False
    if child.killed_for is Reason.PARSER_TIMEOUT:
        waiting = ", most of it waiting for a processor" if child.starved else ""
        return Reason.PARSER_TIMEOUT, f"more than {limits.wall_seconds:g} s{waiting}", child.starved
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_seconds >= limits.cpu_seconds):
            return Reason.PARSER_TIMEOUT, f"more than {limits.cpu_seconds} s of CPU time", False
        if number == signal.SIGKILL:
            return Reason.PARSER_OOM, "killed from outside, most likely because the machine ran out of memory", True
        return Reason.PARSER_CRASHED, f"killed by {signal.Signals(number).name}", False
    code = os.waitstatus_to_exitcode(status)
    return (None, "", False) if code == 0 else (Reason.PARSER_CRASHED, f"exit status {code}", False)


def _answer(run: Run, request: Request) -> None:
    """Run the task over the input and write what comes of it, a result or a failure, to the output."""
    kind, payload = _outcome(run, request)
    with open(_OUTPUT, "wb", buffering=0) as output:
        output.write(kind)
        view = memoryview(payload)
        while view:
            view = view[output.write(view) :]


def _outcome(run: Run, request: Request) -> tuple[bytes, bytes]:
    try:
        with open(_INPUT, "rb") as source:
            payload = run(request.task, source.read())
    except ParseFailed as error:
        failure = error
    except MemoryError:
        failure = ParseFailed(Reason.PARSER_OOM, f"more than {request.memory_bytes // 1_000_000} MB of memory")
    except Exception as error:  # noqa: BLE001 - the parsers' defects become a reason, not a riddle
        failure = ParseFailed(Reason.PARSER_CRASHED, f"{type(error).__name__}: {error}"[:300])
    else:
        if len(payload) <= request.output_bytes:
            return RESULT, payload
        failure = ParseFailed(Reason.OUTPUT_TOO_LARGE, f"more than {request.output_bytes:,} bytes")
    return FAILURE, failure_to_bytes(failure)


def _only_descriptors(source: int, output: int) -> None:
    """Keep the input and the output, at fixed numbers; the standard streams lead nowhere."""
    source, output = os.dup(source), os.dup(output)  # Out of the way of the numbers they are about to get.
    void = os.open(os.devnull, os.O_RDWR)
    saved = [os.dup2(descriptor, 100 + place) for place, descriptor in enumerate((source, output, void))]
    for number, descriptor in ((_INPUT, saved[0]), (_OUTPUT, saved[1]), (0, saved[2]), (1, saved[2]), (2, saved[2])):
        os.dup2(descriptor, number)
    os.closerange(_OUTPUT + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 - a hundred times a second
            return int(statm.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0  # It is about to be reaped.


def _starved(pid: int, seconds: float) -> bool:
    """Whether the process, after so many seconds, wants to run and got no processor for most of them.

    The kernel counts waiting only once it is over: who has hardly run and is ready to run is waiting still.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system time
    return fields[0] == "R" and used < (1 - _STARVED) * seconds


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
        control.send(Hello(layers=layers.names()).to_bytes())
        ForkServer(control, module.run, layers, Path(root)).serve()


if __name__ == "__main__":
    main()
