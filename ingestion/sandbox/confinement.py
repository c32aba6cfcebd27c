"""What a child gives up before it touches the file: files, network, processes, rights. Layer on layer, each optional.

A layer that the kernel does not offer is left out, and `footnote doctor` tells; the resource limits are always there.
"""

import contextlib
import os
import pwd
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import core
import ingestion
from ingestion.sandbox import landlock, seccomp
from ingestion.sandbox.messages import Request
from ingestion.sandbox.syscalls import architecture, libc, prctl

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_ADDRESS_SLACK = 512 << 20  # Memory maps and fragments that never become resident.
_NOBODY = 65534


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Which protections this machine gives beyond resource limits."""

    seccomp: bool
    landlock: bool
    network_namespace: bool
    unprivileged_user: bool

    def names(self) -> tuple[str, ...]:
        """Return the active layers' names as `footnote doctor` shows them."""
        optional = {
            "seccomp": self.seccomp,
            "landlock": self.landlock,
            "network-namespace": self.network_namespace,
            "unprivileged-user": self.unprivileged_user,
        }
        return ("resource-limits", "memory-watch", *(name for name, active in optional.items() if active))


def leave_network() -> bool:
    """Move this single-threaded process into a network namespace without interfaces; return whether it worked."""
    if os.geteuid() == 0 and libc.unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_bytes(b"deny")
        Path("/proc/self/uid_map").write_bytes(b"%d %d 1" % (user, user))
        Path("/proc/self/gid_map").write_bytes(b"%d %d 1" % (group, group))
    return True


def probe(*, network_namespace: bool) -> Layers:
    """Find out, in a child that ends at once, which layers the kernel lets a process put on."""
    works = []
    for attempt in (_try_seccomp, _try_landlock, _try_nobody):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                attempt()
                os._exit(0)
            os._exit(1)
        works.append(os.waitpid(pid, 0)[1] == 0)
    return Layers(
        seccomp=works[0],
        landlock=works[1],
        network_namespace=network_namespace,
        unprivileged_user=os.getuid() == 0 and works[2],
    )


def _try_seccomp() -> None:
    machine = architecture()
    if machine is None:
        raise OSError("the system call numbers of this architecture are not known")
    seccomp.install(seccomp.program(machine, pid=os.getpid(), deny_writing=True))


def _try_nobody() -> None:
    # Root of a user namespace that maps no other user, as in many containers, cannot become one.
    if os.getuid() == 0:
        _become_nobody()


def _try_landlock() -> None:
    landlock.restrict(readable=(), writable=Path("/"))


def readable_places() -> Sequence[Path]:
    """Return where Python, its packages, shared libraries and fonts lie. The data directory is none of them."""
    places = [
        Path(sys.prefix),
        Path(sys.base_prefix),
        *map(Path, ("/usr", "/lib", "/lib64", "/etc/fonts", "/dev/urandom")),
    ]
    places += [Path(path) for package in (core, ingestion) for path in package.__path__]
    return [place for place in dict.fromkeys(places) if place != Path("/")]


def confine(request: Request, layers: Layers, folder: Path, places: Sequence[Path]) -> None:
    """Put this fresh child, for good, under the request's limits and every layer that works here."""
    _limit(request)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(b"1000")  # When memory runs out, this one goes.
    if layers.unprivileged_user:
        _become_nobody()
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)  # After the change of user, which clears it.
    if layers.landlock:
        landlock.restrict(readable=places, writable=folder)
    machine = architecture()
    if layers.seccomp and machine is not None:
        seccomp.install(seccomp.program(machine, pid=os.getpid(), deny_writing=not layers.landlock))


def _limit(request: Request) -> None:
    address_space = _virtual_size() + request.memory_bytes + _ADDRESS_SLACK
    for name, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, request.file_bytes),
        (resource.RLIMIT_NOFILE, request.open_files),
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_NPROC, 0),  # Does not bind root, but nobody.
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(name, (limit, limit))
    # A forked child's clock begins at zero, so the limit is this document's own. The hard limit kills who ignores
    # SIGXCPU.
    resource.setrlimit(resource.RLIMIT_CPU, (request.cpu_seconds, request.cpu_seconds + 1))


def _virtual_size() -> int:
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * resource.getpagesize()


def _become_nobody() -> None:
    user, group = nobody()
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def nobody() -> tuple[int, int]:
    """Return the user and group that children of root run as."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return _NOBODY, _NOBODY
    return entry.pw_uid, entry.pw_gid
