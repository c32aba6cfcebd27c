# ruff: noqa: ARG001, PLW0108, S606 - one signature for all misdeeds, and misdeeds are what it is for
"""Parsers that misbehave, for a fork server to hold: each is what a hole in a real parser would let a file do."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.domain import Reason
from ingestion.parsing.failures import ParseFailed


def warm_up() -> None:
    """Nothing to prepare."""


def run(task: dict[str, Any], data: bytes) -> bytes:
    return DEEDS[str(task["do"])](task, data)


def _echo(task: dict[str, Any], data: bytes) -> bytes:
    return str(task.get("say", "")).encode() + data


def _typed(task: dict[str, Any], data: bytes) -> bytes:
    raise ParseFailed(Reason.ENCRYPTED, "as it says", page=3)


def _defect(task: dict[str, Any], data: bytes) -> bytes:
    raise KeyError(f"a defect in {data!r}")


def _loop(task: dict[str, Any], data: bytes) -> bytes:
    while True:
        pass


def _sleep(task: dict[str, Any], data: bytes) -> bytes:
    time.sleep(60)
    return b""


def _hog(task: dict[str, Any], data: bytes) -> bytes:
    hoard = []
    while True:
        hoard.append(b"x" * (1 << 20))  # Written to, and so in memory; zeros need not be.


def _gulp(task: dict[str, Any], data: bytes) -> bytes:
    return bytes(64 << 30)


def _segfault(task: dict[str, Any], data: bytes) -> bytes:
    ctypes.string_at(0)
    return b""


def _abort(task: dict[str, Any], data: bytes) -> bytes:
    os.abort()


def _exit(task: dict[str, Any], data: bytes) -> bytes:
    os._exit(0)


def _flood(task: dict[str, Any], data: bytes) -> bytes:
    return b"x" * 3_000_000


def _sneaky_flood(task: dict[str, Any], data: bytes) -> bytes:
    while True:
        os.write(4, b"R" + b"x" * 100_000)


def _recursion(task: dict[str, Any], data: bytes) -> bytes:
    return _recursion(task, data)


def _gibberish(task: dict[str, Any], data: bytes) -> bytes:
    os.write(4, b"?what is this")
    os._exit(0)


def _forged_failure(task: dict[str, Any], data: bytes) -> bytes:
    os.write(4, b'F{"reason": "nonsense"}')
    os._exit(0)


def _confession(task: dict[str, Any], data: bytes) -> bytes:
    """Write what the document says to the log, in so far as it is a sentence, and end."""
    sys.stderr.write(f"the document says: {data.decode()} and more\n" * 1_000)
    sys.stderr.flush()
    os._exit(0)


def _forged_page(task: dict[str, Any], data: bytes) -> bytes:
    os.write(4, b'F{"reason": "parser_crashed", "page": 1%b, "excerpt": "the document says so"}' % (b"0" * 30))
    os._exit(0)


def _attempts(task: dict[str, Any], data: bytes) -> bytes:
    """Try everything that must not work; return the names of what did."""
    outside = Path(str(task["outside"]))
    secret = Path(str(task["secret"]))
    attempts: dict[str, Callable[[], object]] = {
        "socket": lambda: socket.socket().connect(("127.0.0.1", 9)),
        "unix socket": lambda: socket.socket(socket.AF_UNIX),
        "socket pair": socket.socketpair,
        "fork": os.fork,
        "thread": lambda: threading.Thread(target=time.sleep, args=(0,)).start(),
        "exec": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
        "subprocess": lambda: subprocess.run(["/bin/true"], check=True),
        "write outside": lambda: (outside / "planted").write_text("x"),
        "folder outside": lambda: (outside / "folder").mkdir(),
        "remove outside": lambda: (outside / "victim").unlink(),
        "read outside": secret.read_bytes,
        "list outside": lambda: list(outside.iterdir()),
        "signal the parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
        "signal a group": lambda: os.killpg(os.getpgid(os.getppid()), 0),
        "big file": lambda: Path("big").write_bytes(bytes(2_000_000)),
        "many files": lambda: [os.open("/dev/urandom", os.O_RDONLY) for _ in range(1000)],
        "become root": lambda: os.setuid(0) if os.getuid() else (_ for _ in ()).throw(PermissionError()),
        "ptrace": lambda: _libc("ptrace", 16, os.getppid(), 0, 0),
        "unshare": lambda: _libc("unshare", 0x10000000),
    }
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except (OSError, RuntimeError):
            continue
        done.append(name)
    for descriptor in range(5, 64):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    Path("mine").write_text("this is allowed")
    return ",".join(done).encode()


def _libc(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def _where(task: dict[str, Any], data: bytes) -> bytes:
    Path("left behind").write_text("x")
    return f"{Path.cwd()}\n{os.getpid()}\n{os.getppid()}\n{sorted(os.environ)}".encode()


def _hoard(task: dict[str, Any], data: bytes) -> bytes:
    """Files that are each within the limit, for ever."""
    number = 0
    while True:
        Path(f"hoard {number % 50}").write_bytes(bytes(900_000))
        number += 1


def _nameless_hoard(task: dict[str, Any], data: bytes) -> bytes:
    """The same in files that no folder lists."""
    files = []
    for number in range(20):
        files.append(os.open(f"hoard {number}", os.O_WRONLY | os.O_CREAT))
        os.write(files[-1], bytes(900_000))
        Path(f"hoard {number}").unlink()
    time.sleep(60)
    return b""


def _litter(task: dict[str, Any], data: bytes) -> bytes:
    for number in range(150):
        Path(f"litter {number}").touch()
    time.sleep(60)
    return b""


def _shaft(task: dict[str, Any], data: bytes) -> bytes:
    """Fifty folders in each other, then sleep."""
    _dig(50)
    time.sleep(60)
    return b""


def _abyss(task: dict[str, Any], data: bytes) -> bytes:
    """Leave so many folders in each other, shut ones among them, as nothing can remove that recurses."""
    _dig(3_000)
    return b"left"


def _dig(depth: int) -> None:
    shut = []
    for number in range(depth):
        Path("down").mkdir()
        Path("file").write_bytes(b"x")
        Path("link").symlink_to("/")
        if number % 200 == 0:
            shut.append(os.open(".", os.O_RDONLY))
        os.chdir("down")
    for folder in shut:
        os.fchmod(folder, 0)


DEEDS: dict[str, Callable[[dict[str, Any], bytes], bytes]] = {
    "echo": _echo,
    "typed": _typed,
    "defect": _defect,
    "loop": _loop,
    "sleep": _sleep,
    "hog": _hog,
    "gulp": _gulp,
    "segfault": _segfault,
    "abort": _abort,
    "exit": _exit,
    "flood": _flood,
    "sneaky flood": _sneaky_flood,
    "recursion": _recursion,
    "gibberish": _gibberish,
    "forged failure": _forged_failure,
    "confession": _confession,
    "forged page": _forged_page,
    "attempts": _attempts,
    "where": _where,
    "hoard": _hoard,
    "nameless hoard": _nameless_hoard,
    "litter": _litter,
    "shaft": _shaft,
    "abyss": _abyss,
}
