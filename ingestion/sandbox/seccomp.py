"""A seccomp filter: no sockets, no new processes, no exec, no signals to others, no way into other processes."""

import ctypes
import errno
import os
import struct

from ingestion.sandbox.syscalls import Architecture, prctl

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_IF_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000

_NUMBER = 0  # Offsets into struct seccomp_data.
_ARCHITECTURE = 4
_ARGUMENTS = 16
_X32 = 0x40000000  # Calls of the x32 ABI would pass a filter on the usual numbers.
_WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

Instruction = tuple[int, int, int, int]


def program(machine: Architecture, *, pid: int, deny_writing: bool) -> list[Instruction]:
    """Return the filter as BPF instructions. Denied calls fail with EPERM, so that a parser can go on without them.

    `deny_writing` also denies opening files for writing and changing folders: for kernels without Landlock.
    """
    denied = sorted({*machine.denied.values(), *(machine.writing.values() if deny_writing else ())})
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    lines: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for number in denied:
        lines += [(_JUMP_IF_EQUAL, 0, 1, number), refuse]
    # abort(3) signals its own thread; nobody else may be signalled.
    lines += [
        (_JUMP_IF_EQUAL, 0, 4, machine.tgkill),
        (_LOAD, 0, 0, _ARGUMENTS),
        (_JUMP_IF_EQUAL, 1, 0, pid),
        refuse,
        (_RETURN, 0, 0, _ALLOW),
    ]
    # The flags of openat2 lie in memory, where a filter cannot see them; libc falls back to openat.
    lines += [(_JUMP_IF_EQUAL, 0, 1, machine.openat2), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    if deny_writing:
        opens = [(machine.openat, 2)] + ([(machine.open_call, 1)] if machine.open_call is not None else [])
        for number, argument in opens:
            lines += [
                (_JUMP_IF_EQUAL, 0, 4, number),
                (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
                (_JUMP_IF_ANY_BIT, 0, 1, _WRITING_FLAGS),
                refuse,
                (_RETURN, 0, 0, _ALLOW),
            ]
    return [*lines, (_RETURN, 0, 0, _ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(instructions: list[Instruction]) -> None:
    """Put this process, for good, under the filter. Raises OSError where the kernel does not let it."""
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    filter_program = _Program(len(instructions), packed)
    prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
    prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(filter_program))
