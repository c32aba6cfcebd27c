"""The real parsers, until a file's first bytes name a misdeed: then the parser does what a hole in it would allow."""

import contextlib
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from ingestion.sandbox import parsing_child
from tests.ingestion.sandbox.hostile import DEEDS

MARK = b"possessed: "

warm_up = parsing_child.warm_up


def run(task: dict[str, Any], data: bytes) -> bytes:
    if not data.startswith(MARK):
        return parsing_child.run(task, data)
    deed = data.removeprefix(MARK).decode()
    return (OWN.get(deed) or DEEDS[deed])({**task, "do": deed}, data)


def _fork_bomb(_: dict[str, Any], __: bytes) -> NoReturn:
    while True:
        with contextlib.suppress(OSError):
            os.fork()


def _gigabyte(_: dict[str, Any], __: bytes) -> NoReturn:
    """A result of a gigabyte, written past all that would measure it first."""
    os.write(4, b"R")
    piece = b"x" * (1 << 20)
    for _piece in range(1 << 10):
        os.write(4, piece)
    os._exit(0)


OWN: Mapping[str, Callable[[dict[str, Any], bytes], bytes]] = MappingProxyType(
    {"fork bomb": _fork_bomb, "gigabyte": _gigabyte}
)
