"""Landlock: a process gives up all files but some. Needs Linux 5.13 and no rights."""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ingestion.sandbox.syscalls import call, prctl

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE = 1 << 0
_READ_FILE = 1 << 2
_READ_FOLDER = 1 << 3
_REFER = 1 << 13  # since ABI 2
_TRUNCATE = 1 << 14  # since ABI 3
_ALL_V1 = (1 << 13) - 1


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Return the version of Landlock that the kernel speaks, 0 for none."""
    try:
        return call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    except OSError:
        return 0


def restrict(*, readable: Iterable[Path], writable: Path) -> None:
    """Leave this process, for good, only reading below `readable` and everything but executing below `writable`.

    Raises OSError where the kernel does not let it.
    """
    version = abi()
    handled = _ALL_V1 | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)  # noqa: PLR2004 - ABI versions
    attributes = _Ruleset(handled)
    ruleset = call(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), ctypes.c_uint32(0)
    )
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_FOLDER)
        _allow(ruleset, writable, handled & ~_EXECUTE & ~_REFER)
        prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
        call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What is not there, or may not be entered, needs no rule.
    try:
        if not stat.S_ISDIR(os.fstat(folder).st_mode):
            access &= ~_READ_FOLDER  # A right that means nothing for a file is refused.
        rule = _PathBeneath(access, folder)
        call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    finally:
        os.close(folder)
