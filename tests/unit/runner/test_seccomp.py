"""The filter programs, run by a small interpreter of classic BPF."""

import ctypes.util
import errno
import struct

import pytest

from uhlp.runner import seccomp, syscalls

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
ALLOWED, KILLED = "allowed", "killed"


def outcome(program: bytes, architecture: int, number: int, *arguments: int) -> str | int:
    """What the kernel would do: ALLOWED, KILLED or the errno."""
    padded = [argument & 0xFFFFFFFFFFFFFFFF for argument in (*arguments, 0, 0, 0, 0, 0, 0)][:6]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        operation, on_true, on_false, value = code[position]
        position += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x05:
            position += value
        elif operation == 0x06:
            action, detail = value & 0xFFFF0000, value & 0xFFFF
            return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(action, detail)
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[operation]
            position += on_true if holds else on_false


class Filter:
    def __init__(self, program: bytes, machine: str) -> None:
        self.program, self.machine = program, machine

    def __call__(self, name: str, *arguments: int) -> str | int:
        number = syscalls.ALL[name][sorted(ARCHITECTURES, reverse=True).index(self.machine)]
        assert number is not None
        return outcome(self.program, ARCHITECTURES[self.machine], number, *arguments)


@MACHINES
def test_ordinary_calls_pass_both_filters(machine: str) -> None:
    read = {"x86_64": 0, "aarch64": 63}[machine]
    for program in (seccomp.sandbox_program(machine), seccomp.worker_program(machine, 7)):
        assert outcome(program, ARCHITECTURES[machine], read) == ALLOWED


@MACHINES
def test_another_architecture_is_killed_and_unknown_numbers_do_not_exist(machine: str) -> None:
    program = seccomp.sandbox_program(machine)
    assert outcome(program, 0x40000003, 1) == KILLED
    assert outcome(program, ARCHITECTURES[machine], syscalls.NEWEST + 1) == errno.ENOSYS
    assert outcome(program, ARCHITECTURES[machine], 0x40000000 + 101) == errno.ENOSYS


@MACHINES
def test_every_call_of_the_tables_is_refused(machine: str) -> None:
    column = ("x86_64", "aarch64").index(machine)
    for table, program in (
        (syscalls.SANDBOX, seccomp.sandbox_program(machine)),
        (syscalls.WORKER, seccomp.worker_program(machine, 7)),
    ):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                assert outcome(program, ARCHITECTURES[machine], number) == errno.EPERM


@MACHINES
def test_a_sandbox_makes_threads_and_forks_but_no_namespaces(machine: str) -> None:
    call = Filter(seccomp.sandbox_program(machine), machine)
    assert call("clone", 0x01200011) == ALLOWED
    for namespace in (0x80, 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert call("clone", namespace | 17) == errno.EPERM
    assert call("clone3") == errno.ENOSYS


@MACHINES
def test_a_worker_makes_threads_but_no_processes(machine: str) -> None:
    call = Filter(seccomp.worker_program(machine, 7), machine)
    assert call("clone", 0x3D0F00) == ALLOWED
    assert call("clone", 17) == errno.EPERM


@MACHINES
def test_a_worker_signals_itself_alone(machine: str) -> None:
    call = Filter(seccomp.worker_program(machine, 7), machine)
    assert call("kill", 7, 9) == call("tgkill", 7, 7, 6) == ALLOWED
    for other in (-1, 0, 1, 6, 8, -7):
        assert call("kill", other, 9) == call("tgkill", other, other, 9) == errno.EPERM


@MACHINES
def test_a_worker_limits_itself_alone_and_owns_no_descriptor_signals(machine: str) -> None:
    call = Filter(seccomp.worker_program(machine, 7), machine)
    assert call("prlimit64", 0) == call("prlimit64", 7) == ALLOWED
    assert call("prlimit64", 1) == errno.EPERM
    assert call("fcntl", 3, 1) == ALLOWED
    for command in (8, 10, 15, 1031):
        assert call("fcntl", 3, command) == errno.EPERM
    assert call("ioctl", 3, 0x5401) == ALLOWED
    assert call("ioctl", 3, 0x8901) == errno.EPERM


@MACHINES
def test_sockets_are_for_this_machine_in_the_supervisor_and_for_nobody_in_a_worker(machine: str) -> None:
    sandbox = Filter(seccomp.sandbox_program(machine), machine)
    assert sandbox("socket", 1) == ALLOWED
    for family in (2, 10, 16, 17, 38, 40):
        assert sandbox("socket", family) == errno.EPERM
    assert Filter(seccomp.worker_program(machine, 7), machine)("socket", 1) == errno.EPERM


def test_the_tables_agree_with_libseccomp() -> None:
    name = ctypes.util.find_library("seccomp")
    if name is None:
        pytest.skip("libseccomp is not installed")
    resolve = ctypes.CDLL(name).seccomp_syscall_resolve_name_arch
    for call, numbers in syscalls.ALL.items():
        for architecture, number in zip((0xC000003E, 0xC00000B7), numbers, strict=True):
            known = resolve(ctypes.c_uint32(architecture), call.encode())
            assert known < 0 or known == number, call
