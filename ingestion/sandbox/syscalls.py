"""Numbers of the system calls that a child may not make, and a libc to make some ourselves."""

import ctypes
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

libc: Any = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: Any) -> int:  # noqa: ANN401 - ctypes takes what the call takes
    """Make a system call that libc has no function for. Raises OSError."""
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def prctl(option: int, *arguments: Any) -> None:  # noqa: ANN401 - the same
    """Change a property of this process (see prctl in section 2 of the manual). Raises OSError."""
    padded = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    if libc.prctl(ctypes.c_int(option), *padded) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A processor architecture as seccomp sees it; only these can be filtered."""

    audit: int
    denied: Mapping[str, int]
    writing: Mapping[str, int]
    open_call: int | None
    openat: int
    tgkill: int
    openat2: int = 437


_COMMON = {  # One number on every architecture since Linux 5.0.
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "memfd_secret": 447,
}

_X86_64 = Architecture(
    audit=0xC000003E,
    denied=MappingProxyType(
        _COMMON
        | {
            "shmget": 29,
            "shmat": 30,
            "socket": 41,
            "connect": 42,
            "accept": 43,
            "sendto": 44,
            "recvfrom": 45,
            "sendmsg": 46,
            "recvmsg": 47,
            "bind": 49,
            "listen": 50,
            "socketpair": 53,
            "clone": 56,
            "fork": 57,
            "vfork": 58,
            "execve": 59,
            "kill": 62,
            "semget": 64,
            "msgget": 68,
            "ptrace": 101,
            "rt_sigqueueinfo": 129,
            "personality": 135,
            "pivot_root": 155,
            "chroot": 161,
            "mount": 165,
            "umount2": 166,
            "swapon": 167,
            "reboot": 169,
            "iopl": 172,
            "ioperm": 173,
            "init_module": 175,
            "delete_module": 176,
            "tkill": 200,
            "mq_open": 240,
            "kexec_load": 246,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "unshare": 272,
            "accept4": 288,
            "rt_tgsigqueueinfo": 297,
            "perf_event_open": 298,
            "recvmmsg": 299,
            "fanotify_init": 300,
            "open_by_handle_at": 304,
            "sendmmsg": 307,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "finit_module": 313,
            "memfd_create": 319,
            "kexec_file_load": 320,
            "bpf": 321,
            "execveat": 322,
            "userfaultfd": 323,
        }
    ),
    writing=MappingProxyType(
        {
            "truncate": 76,
            "rename": 82,
            "mkdir": 83,
            "rmdir": 84,
            "creat": 85,
            "link": 86,
            "unlink": 87,
            "symlink": 88,
            "chmod": 90,
            "chown": 92,
            "lchown": 94,
            "utime": 132,
            "mknod": 133,
            "utimes": 235,
            "mkdirat": 258,
            "mknodat": 259,
            "fchownat": 260,
            "unlinkat": 263,
            "renameat": 264,
            "linkat": 265,
            "symlinkat": 266,
            "fchmodat": 268,
            "utimensat": 280,
            "renameat2": 316,
        }
    ),
    open_call=2,
    openat=257,
    tgkill=234,
)

_AARCH64 = Architecture(
    audit=0xC00000B7,
    denied=MappingProxyType(
        _COMMON
        | {
            "umount2": 39,
            "mount": 40,
            "pivot_root": 41,
            "chroot": 51,
            "personality": 92,
            "unshare": 97,
            "kexec_load": 104,
            "init_module": 105,
            "delete_module": 106,
            "ptrace": 117,
            "kill": 129,
            "tkill": 130,
            "rt_sigqueueinfo": 138,
            "reboot": 142,
            "mq_open": 180,
            "msgget": 186,
            "semget": 190,
            "shmget": 194,
            "shmat": 196,
            "socket": 198,
            "socketpair": 199,
            "bind": 200,
            "listen": 201,
            "accept": 202,
            "connect": 203,
            "sendto": 206,
            "recvfrom": 207,
            "sendmsg": 211,
            "recvmsg": 212,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "clone": 220,
            "execve": 221,
            "swapon": 224,
            "rt_tgsigqueueinfo": 240,
            "perf_event_open": 241,
            "accept4": 242,
            "recvmmsg": 243,
            "fanotify_init": 262,
            "open_by_handle_at": 265,
            "setns": 268,
            "sendmmsg": 269,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "finit_module": 273,
            "memfd_create": 279,
            "bpf": 280,
            "execveat": 281,
            "userfaultfd": 282,
            "kexec_file_load": 294,
        }
    ),
    writing=MappingProxyType(
        {
            "mknodat": 33,
            "mkdirat": 34,
            "unlinkat": 35,
            "symlinkat": 36,
            "linkat": 37,
            "renameat": 38,
            "truncate": 45,
            "fchmodat": 53,
            "fchownat": 54,
            "utimensat": 88,
            "renameat2": 276,
        }
    ),
    open_call=None,
    openat=56,
    tgkill=131,
)

_ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({"x86_64": _X86_64, "aarch64": _AARCH64})


def architecture() -> Architecture | None:
    """Return this machine's architecture, None where its numbers are not known here."""
    return _ARCHITECTURES.get(platform.machine())
