"""seccomp: the system calls that a confined process is refused, as a filter in the kernel's own form.

Numbers of calls differ between architectures: one table for each. The filter refuses a process of another
architecture, whose numbers it cannot read.
"""

from __future__ import annotations

import errno
import functools
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUALS: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_ANSWER: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_ERROR: Final = 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data; low halves of the arguments

_X32: Final = 0x40000000
_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_TIOCSTI: Final = 0x5412  # writes into the terminal as if a person typed
_TIOCLINUX: Final = 0x541C  # the same on a console

UNIX: Final = 1
NETWORK: Final = (2, 10, 16, 17)  # AF_INET, AF_INET6, AF_NETLINK, AF_PACKET

# Calls with one number everywhere: io_uring (it opens files past the filter), pidfd_getfd, and those that mount.
_EVERYWHERE: Final = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442)
_CLONE3: Final = 435  # its flags lie in memory, which a filter cannot read


@dataclass(frozen=True)
class Architecture:
    """The numbers of one architecture. `refused` are calls that no tool needs."""

    audit: int  # AUDIT_ARCH_*
    clone: int
    ioctl: int
    socket: int
    refused: Mapping[str, int]
    x32: bool = False


ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "x86_64": Architecture(
        audit=0xC000003E,
        clone=56,
        ioctl=16,
        socket=41,
        x32=True,
        refused={
            **{"ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "bpf": 321},
            **{"perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250},
            **{"mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308},
            **{"init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246},
            **{"kexec_file_load": 320, "open_by_handle_at": 304, "reboot": 169, "swapon": 167, "swapoff": 168},
            **{"acct": 163, "settimeofday": 164, "clock_settime": 227, "iopl": 172, "ioperm": 173},
        },
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        clone=220,
        ioctl=29,
        socket=198,
        refused={
            **{"ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "bpf": 280},
            **{"perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219},
            **{"mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268},
            **{"init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104},
            **{"kexec_file_load": 294, "open_by_handle_at": 265, "reboot": 142, "swapon": 224, "swapoff": 225},
            **{"acct": 89, "settimeofday": 170, "clock_settime": 112},
        },
    ),
}


def program(machine: str, families: Sequence[int]) -> bytes:
    """Return the filter for an architecture. `families` are the address families that socket() may have.

    Raises KeyError for an architecture without a table.
    """
    here = ARCHITECTURES[machine]
    refuse, denied = _answer(errno.EPERM), _answer(errno.EACCES)
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUALS, here.audit, 1, 0),
        refuse,
        _instruction(_LOAD, _NUMBER),
    ]
    if here.x32:
        code += [_instruction(_AT_LEAST, _X32, 0, 1), refuse]
    for number in sorted({*here.refused.values(), *_EVERYWHERE}):
        code += [_instruction(_EQUALS, number, 0, 1), refuse]
    # With ENOSYS the C library uses clone instead, whose flags the filter can see.
    code += [_instruction(_EQUALS, _CLONE3, 0, 1), _answer(errno.ENOSYS)]
    code += [_instruction(_EQUALS, here.clone, 0, 4), _instruction(_LOAD, _FIRST)]
    code += [_instruction(_ANY_BIT, _NAMESPACES, 0, 1), refuse, _answer(None)]
    code += [_instruction(_EQUALS, here.ioctl, 0, 5), _instruction(_LOAD, _SECOND)]
    code += [_instruction(_EQUALS, _TIOCSTI, 1, 0), _instruction(_EQUALS, _TIOCLINUX, 0, 1), refuse, _answer(None)]
    code += [_instruction(_EQUALS, here.socket, 0, len(families) + 2), _instruction(_LOAD, _FIRST)]
    for index, family in enumerate(families):
        code.append(_instruction(_EQUALS, family, len(families) - index, 0))
    code += [denied, _answer(None)]
    return b"".join(code)


@functools.cache
def of_this_host(families: tuple[int, ...]) -> bytes:
    """Return the filter for this host. Raises KeyError."""
    return program(machine(), families)


def machine() -> str:
    """Return the name of this host's architecture, as the tables have it."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _answer(error: int | None) -> bytes:
    return _instruction(_ANSWER, _ALLOW if error is None else _ERROR | error)
