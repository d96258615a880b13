"""What a container engine promised, looked at from inside the container: believed when it is seen.

A sandbox's processes cannot build these walls themselves: the engine did, or did not, or did in part (an older engine
drops what it does not know without a word).
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_DEVICES = frozenset(("null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"))
_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")
_CGROUP = "/sys/fs/cgroup"
_UNBOUNDED = 1 << 60


@dataclass(frozen=True, slots=True)
class Promises:
    """`writable`: volumes that may be written. `memory_bytes` and `pids` bound the whole container."""

    memory_bytes: int
    pids: int
    tmp: str
    tmp_bytes: int
    tmp_files: int
    has_network: bool
    writable: tuple[str, ...] = ()


def broken(promises: Promises) -> list[str]:
    """The walls that do not stand, in words; empty when all do."""
    looks: tuple[Callable[[Promises], Iterator[str]], ...] = (
        _identity, _file_system, _bounds_of_tmp, _devices, _network, _memory, _processes,
    )  # fmt: skip
    found: list[str] = []
    for look in looks:
        try:
            found += look(promises)
        except (OSError, ValueError, KeyError, IndexError) as fault:
            found.append(f"{look.__name__.strip('_').replace('_', ' ')}: cannot be seen ({fault})")
    return found


def _identity(promises: Promises) -> Iterator[str]:
    said = dict(line.split(":", 1) for line in _read("/proc/self/status").splitlines())
    if "0" in (*said["Uid"].split(), *said["Gid"].split(), *said["Groups"].split()):
        yield "own user: it is root or in root's group"
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(said[name], 16)]
    if held:
        yield f"no capabilities: {', '.join(held)} hold some"
    if said["NoNewPrivs"].strip() != "1":
        yield "no new privileges: programs may gain some"
    if said["Seccomp"].strip() != "2":
        yield "filter of system calls: the engine set none"


def _file_system(promises: Promises) -> Iterator[str]:
    if not os.statvfs("/").f_flag & os.ST_RDONLY:
        yield "read-only root: it can be written"
    expected = {promises.tmp, *promises.writable}
    for mount in _mounts():
        is_masked = stat.S_ISCHR(os.stat(mount).st_mode)  # noqa: PTH116 - /dev/null, laid over a file of /proc
        if mount not in expected and not is_masked and os.access(mount, os.W_OK):
            yield f"read-only root: {mount} can be written"
    for path in _SOCKETS:
        if os.path.lexists(path):
            yield f"no engine socket: {path} is there"


def _bounds_of_tmp(promises: Promises) -> Iterator[str]:
    seen = os.statvfs(promises.tmp)
    if promises.tmp not in _mounts() or seen.f_blocks * seen.f_frsize > promises.tmp_bytes:
        yield f"bounds of {promises.tmp}: more than {promises.tmp_bytes} bytes"
    if not 0 < seen.f_files <= promises.tmp_files:
        yield f"bounds of {promises.tmp}: more than {promises.tmp_files} files"
    wanted = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
    if seen.f_flag & wanted != wanted:
        yield f"bounds of {promises.tmp}: not noexec, nosuid and nodev"


def _devices(promises: Promises) -> Iterator[str]:
    for entry in os.scandir("/dev"):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and entry.name not in _DEVICES):
            yield f"no devices: /dev/{entry.name} is there"


def _network(promises: Promises) -> Iterator[str]:
    if promises.has_network:
        return
    # any other interface carries nothing before it is up: kernels with tunnels built in show some everywhere
    up = [name for name in os.listdir("/sys/class/net") if int(_read(f"/sys/class/net/{name}/flags"), 16) & 1]  # noqa: PTH208
    if set(up) - {"lo"}:
        yield f"no network: {', '.join(sorted(up))} are up"


def _memory(promises: Promises) -> Iterator[str]:
    if _bound("memory.max", "memory/memory.limit_in_bytes") > promises.memory_bytes:
        yield f"bound of memory: more than {promises.memory_bytes} bytes"
    if "SwapTotal:             0" in _read("/proc/meminfo"):
        return
    swap_bytes = _first_line(f"{_CGROUP}/memory.swap.max")
    both_bytes = _first_line(f"{_CGROUP}/memory/memory.memsw.limit_in_bytes")
    if swap_bytes != "0" and not (both_bytes.isdigit() and int(both_bytes) <= promises.memory_bytes):
        yield "bound of memory: swap is not bounded"


def _processes(promises: Promises) -> Iterator[str]:
    if _bound("pids.max", "pids/pids.max") > promises.pids:
        yield f"bound of processes: more than {promises.pids}"


def _bound(*names: str) -> int:
    """The number in the first of these control files that there is: of cgroups 2, else of cgroups 1."""
    for name in names:
        text = _first_line(f"{_CGROUP}/{name}")
        if text:
            return int(text) if text.isdigit() else _UNBOUNDED
    raise ValueError("no control group shows it")


def _first_line(path: str) -> str:
    try:
        return _read(path).strip()
    except OSError:
        return ""


def _mounts() -> list[str]:
    fields = [line.split()[4] for line in _read("/proc/self/mountinfo").splitlines()]
    return [field.encode().decode("unicode_escape") for field in fields]  # a space is written as its octal number


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()
