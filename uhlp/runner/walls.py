"""What a process of a sandbox gives up for good: done by trusted code, before anything generated is loaded."""

import ctypes
import ctypes.util
import os
import platform
import resource
import signal
from dataclasses import dataclass, field
from typing import Any

from . import RunnerError, landlock, seccomp
from .promises import Promises, broken

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 2, 4, 8, 32
_MNT_DETACH = 2
_CAPABILITY_VERSION_3 = 0x20080522

MIB = 1024 * 1024
THREADS = 64
OPEN_FILES = 256
FILE_BYTES = 16 * MIB
TMP_BYTES = 64 * MIB
TMP_FILES = 4096


class WallMissing(RunnerError):
    """The kernel refused to build this wall."""


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the driver decided about this sandbox. `uid`: the user to become; `own_tmp`: /tmp is a private tmpfs.

    The control socket is a descriptor or the path of one to dial; without either it comes through the relay.
    `promises`: what the engine of this container promised; then its walls stand already and are only looked at.
    """

    tmp: str
    memory_bytes: int
    control_fd: int | None = None
    control_path: str | None = None
    uid: int | None = None
    own_tmp: bool = False
    count_threads: bool = False
    promises: Promises | None = None

    @property
    def has_network(self) -> bool:
        return self.promises is not None and self.promises.has_network


@dataclass(slots=True)
class WallReport:
    """What holds around this sandbox, and what was refused with the reason: reported, never assumed.

    `own_files`: no worker reaches another's files in /tmp. Kernels before 5.13 cannot keep them apart.
    """

    uid: int = -1
    system_calls: bool = False
    private_tmp: bool = False
    own_files: bool = False
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one worker. `memory_bytes` is what it may map beyond what the supervisor had mapped at the fork."""

    memory_bytes: int
    count_threads: bool


def build(settings: Settings) -> WallReport:
    """Give up everything this sandbox must not have; what the kernel refuses is noted."""
    built = WallReport()

    def attempt(wall: str, step: Any, *arguments: Any) -> bool:
        try:
            step(*arguments)
        except (WallMissing, OSError) as fault:
            built.missing.append(f"{wall}: {fault}")
            return False
        return True

    if settings.promises is not None:
        built.missing += broken(settings.promises)
        built.private_tmp = not built.missing
    if settings.own_tmp:
        built.private_tmp = attempt("bounds of /tmp", bound_tmp, settings.tmp)
    if settings.uid is not None:
        attempt("own user", take_identity, settings.uid)
    attempt("no capabilities", drop_capabilities)
    attempt("end with the server", end_with_parent)
    attempt("hidden memory", hide_memory)
    attempt("adopted orphans", adopt_orphans)
    if seccomp.is_supported():
        built.system_calls = attempt("filter of system calls", filter_sandbox_calls, settings.has_network)
    else:
        built.missing.append("filter of system calls: none for this architecture")
    built.own_files = landlock.version() > 0
    built.uid = os.getuid()
    if built.uid == 0:
        built.missing.append("own user: it is root")
    return built


def _check(result: int, what: str) -> None:
    if result != 0:
        raise WallMissing(f"{what}: {os.strerror(ctypes.get_errno())}")


def _prctl(option: int, value: int, what: str) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), what)


def bound_tmp(folder: str) -> None:
    """Give a private tmpfs its bounds in bytes and files (a million empty files would cost a gigabyte)."""
    options = f"size={TMP_BYTES},nr_inodes={TMP_FILES},mode=1777".encode()
    flags = ctypes.c_ulong(_MS_REMOUNT | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _check(_libc.mount(b"none", folder.encode(), None, flags, options), f"bounds of {folder}")


def take_away(path: str) -> None:
    """Unmount what was bound for the first steps alone; what is open or loaded of it goes on."""
    _check(_libc.umount2(path.encode(), _MNT_DETACH), f"taking {path} away")


def take_identity(uid: int) -> None:
    """Become a user of no rights, for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def drop_capabilities() -> None:
    """Hold none, and gain none through any program."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "dropping capabilities")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "no new privileges")


class OomScore:
    """How gladly the kernel ends this process and its forks when memory runs out; opened before memory is hidden."""

    WORKER = 1000

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._own = int(os.read(self._fd, 16))

    def offer_forks(self) -> None:
        """From here to `spare`, a fork is the first to be ended."""
        self._write(self.WORKER)

    def spare(self) -> None:
        """Back to what the supervisor was started with: it outlives its workers."""
        self._write(self._own)

    def close(self) -> None:
        """In a fork: it keeps the score that it was forked with."""
        os.close(self._fd)

    def _write(self, score: int) -> None:
        try:
            os.pwrite(self._fd, str(score).encode(), 0)
        except OSError:
            return  # the kernel then chooses by size alone


def end_with_parent() -> None:
    """Be killed when the parent ends. A change of identity clears this, so it comes after."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, "end with parent")


def hide_memory() -> None:
    """Let no process of the same user look into this one (ptrace, /proc/<pid>/environ, mem, fd)."""
    _prctl(_PR_SET_DUMPABLE, 0, "hiding memory")


def adopt_orphans() -> None:
    """Become the parent of processes whose parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "adopting orphans")


def filter_sandbox_calls(has_network: bool = False) -> None:
    """The first filter: for the supervisor and everything it forks."""
    _install(seccomp.sandbox_program(platform.machine(), has_network=has_network))


def filter_worker_calls(has_network: bool = False) -> None:
    """The second filter: for this worker alone."""
    _install(seccomp.worker_program(platform.machine(), os.getpid(), has_network=has_network))


def _install(program: bytes) -> None:
    filter_ = _Filter(len(program) // 8, program)
    _check(
        _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(filter_), 0, 0),
        "filter of system calls",
    )


def apply_limits(limits: Limits, workers: int) -> None:
    """Resource limits of a worker; `workers` live in this sandbox and count as the same user."""
    mapped_bytes = _mapped_bytes()
    bounds = {
        resource.RLIMIT_AS: mapped_bytes + limits.memory_bytes,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    if limits.count_threads:
        bounds[resource.RLIMIT_NPROC] = workers + THREADS
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (bound, bound))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - pathlib would be loaded for this line alone
        return int(file.read().split()[0]) * resource.getpagesize()
