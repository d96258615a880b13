"""Which system calls are refused, as classic BPF programs for x86_64 and aarch64.

`sandbox_program()` holds for the supervisor and all it forks: nothing that reaches the kernel's rarer subsystems, other
processes' memory, namespaces or the network. `worker_program(pid)` comes on top after a fork: a worker is one process
that can signal only itself, start nothing, and stand in nobody's way. Calls newer than this list do not exist (ENOSYS).
With a network, the first lets out over IP alone, and the second leaves out what it says about sockets.
"""

import errno
import functools
import platform
import struct
from dataclasses import dataclass

from . import syscalls

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_COLUMN = {"x86_64": 0, "aarch64": 1}

_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_AT_LEAST, _JUMP, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x05, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_SOME_PID = 0x5EC0FFEE
_AF_UNIX = 1
_NETWORK_FAMILIES = (2, 10, 16)  # AF_INET, AF_INET6, and AF_NETLINK, which tells a resolver of its interfaces
_CLONE_THREAD = 0x00010000
_CLONE_NEW_NAMESPACES = 0x7E020080  # user, pid, net, ipc, uts, cgroup, mount, time
_FCNTL_SIGNALS_AND_PIPES = (8, 10, 15, 1031)  # F_SETOWN, F_SETSIG, F_SETOWN_EX (they signal others), F_SETPIPE_SZ
_IOCTL_SIGNALS_AND_TERMINALS = (0x8901, 0x8902, 0x5412)  # FIOSETOWN, SIOCSPGRP, TIOCSTI


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that fails with `error`; with `argument`, only when its low 32 bits match (or, `unless`, do not match)."""

    call: str
    error: int = errno.EPERM
    argument: int | None = None
    equals: tuple[int, ...] = ()
    has_bits: int = 0
    unless: bool = False


def is_supported() -> bool:
    """Whether this machine's architecture has a program."""
    return platform.machine() in _AUDIT_ARCH


def sandbox_program(machine: str, *, has_network: bool = False) -> bytes:
    """The filter of a whole sandbox."""
    refusals = [Refusal(call) for call in syscalls.SANDBOX]
    refusals += [
        Refusal("clone3", error=errno.ENOSYS),  # its flags lie in memory, out of a filter's sight; libc then uses clone
        Refusal("clone", argument=0, has_bits=_CLONE_NEW_NAMESPACES),
    ]
    families = (_AF_UNIX, *_NETWORK_FAMILIES) if has_network else (_AF_UNIX,)
    refusals.append(Refusal("socket", argument=0, equals=families, unless=True))
    return assemble(refusals, machine)


def worker_program(machine: str, pid: int, *, has_network: bool = False) -> bytes:
    """The second filter, for the worker with this process id (as the worker sees it)."""
    return worker_template(machine, has_network=has_network).replace(
        struct.pack("=I", _SOME_PID), struct.pack("=I", pid)
    )


@functools.cache
def worker_template(machine: str, *, has_network: bool = False) -> bytes:
    """The second filter with a stand-in for the process id: assembled once, before the forks."""
    pid = _SOME_PID
    refusals = [Refusal(call) for call in syscalls.WORKER if not (has_network and call in syscalls.SOCKETS)]
    refusals += [
        Refusal("kill", argument=0, equals=(pid,), unless=True),
        Refusal("tgkill", argument=0, equals=(pid,), unless=True),
        Refusal("clone", argument=0, has_bits=_CLONE_THREAD, unless=True),
        Refusal("prlimit64", argument=0, equals=(0, pid), unless=True),
        Refusal("fcntl", argument=1, equals=_FCNTL_SIGNALS_AND_PIPES),
        Refusal("ioctl", argument=1, equals=_IOCTL_SIGNALS_AND_TERMINALS),
    ]
    return assemble(refusals, machine)


def assemble(refusals: list[Refusal], machine: str) -> bytes:
    """An array of `struct sock_filter`: every call is allowed but these."""
    column = _COLUMN[machine]
    code = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, _AUDIT_ARCH[machine], on_true=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_JUMP_AT_LEAST, syscalls.NEWEST + 1, on_false=1),  # the x32 numbers lie above as well
        _instruction(_RETURN, _REFUSE | errno.ENOSYS),
    ]
    for refusal in refusals:
        number = syscalls.ALL[refusal.call][column]
        if number is not None:
            code += _block(refusal, number)
    code.append(_instruction(_RETURN, _ALLOW))
    return b"".join(code)


def _block(refusal: Refusal, number: int) -> list[bytes]:
    """Instructions of one refusal; the accumulator holds the call's number before and after."""
    refuse = _instruction(_RETURN, _REFUSE | refusal.error)
    if refusal.argument is None:
        return [_instruction(_JUMP_EQUAL, number, on_false=1), refuse]
    tests = [(_JUMP_EQUAL, value) for value in refusal.equals]
    if refusal.has_bits:
        tests.append((_JUMP_SET, refusal.has_bits))
    body = [_instruction(_LOAD, _ARGUMENTS_AT + 8 * refusal.argument)]
    for index, (operation, value) in enumerate(tests):
        left = len(tests) - 1 - index
        # a match jumps to `refuse`, which one more instruction precedes; with `unless`, to the reload behind it
        body.append(_instruction(operation, value, on_true=left + 1))
    if not refusal.unless:
        body.append(_instruction(_JUMP, 1))
    body += [refuse, _instruction(_LOAD, _NUMBER_AT)]
    return [_instruction(_JUMP_EQUAL, number, on_false=len(body)), *body]


def _instruction(operation: int, value: int, on_true: int = 0, on_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, on_true, on_false, value)
