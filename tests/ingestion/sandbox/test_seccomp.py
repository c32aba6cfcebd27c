import errno
import os

import pytest

from ingestion.sandbox.seccomp import Instruction, program
from ingestion.sandbox.syscalls import Architecture, architecture

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM


@pytest.fixture
def machine() -> Architecture:
    found = architecture()
    if found is None:
        pytest.skip("the system calls of this architecture are not known")
    return found


def _verdict(
    lines: list[Instruction], machine: Architecture, number: int, *arguments: int, audit: int | None = None
) -> int:
    """Run the filter as the kernel would."""
    words = {0: number, 4: machine.audit if audit is None else audit}
    words |= {16 + 8 * place: value & 0xFFFFFFFF for place, value in enumerate(arguments)}
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, value = lines[position]
        position += 1
        if code == 0x20:
            accumulator = words.get(value, 0)
        elif code == 0x06:
            return value
        else:
            holds = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[code]
            position += if_true if holds else if_false


@pytest.mark.parametrize("deny_writing", [True, False])
def test_every_denied_call_is_refused_and_reading_is_not(machine: Architecture, *, deny_writing: bool) -> None:
    lines = program(machine, pid=42, deny_writing=deny_writing)
    for name, number in machine.denied.items():
        assert _verdict(lines, machine, number) == REFUSE, name
    for number in machine.writing.values():
        assert _verdict(lines, machine, number) == (REFUSE if deny_writing else ALLOW)
    assert _verdict(lines, machine, machine.openat, 3, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    writes = _verdict(lines, machine, machine.openat, 3, 0, os.O_WRONLY | os.O_CREAT)
    assert writes == (REFUSE if deny_writing else ALLOW)


def test_a_process_may_signal_its_own_threads_alone(machine: Architecture) -> None:
    lines = program(machine, pid=42, deny_writing=True)
    assert _verdict(lines, machine, machine.tgkill, 42, 43) == ALLOW
    assert _verdict(lines, machine, machine.tgkill, 41, 41) == REFUSE


def test_calls_of_another_architecture_kill(machine: Architecture) -> None:
    lines = program(machine, pid=42, deny_writing=True)
    assert _verdict(lines, machine, 0, audit=0x40000003) == KILL
    assert _verdict(lines, machine, 0x40000000 | 41) == KILL
