"""What a sandbox's container is made of: every wall that an engine can build, as a create configuration.

`walled` holds for any image; `running_our_runner` adds what the zygote needs. What cannot change after a start is in
`kind`, so that two containers of one kind can stand in for each other.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.config import DockerSettings
from uhlp.sandbox.drivers.volumes import Volume

INSTANCE_LABEL, POOL_LABEL, SANDBOX_LABEL, EXPIRES_LABEL = "uhlp.instance", "uhlp.pool", "uhlp.sandbox", "uhlp.expires"
TMP = "/tmp"  # noqa: S108 - the container's own
DIAL_FOLDER, DIAL_NAME = "/run/uhlp", "s"

_SECCOMP_FILE = Path(__file__).parents[2] / "seccomp.json"
_MIB = 1024 * 1024
_TMP_BYTES, _TMP_FILES = 64 * _MIB, 4096
SUPERVISOR_BYTES = 32 * _MIB
"""On top of the pool's memory: supervisor, relay and the runner's code, 19 MiB when measured. Workers share it."""

_SCRATCH_BYTES = 16 * _MIB
_THREADS = 64
_FEWEST_WORKERS = 16
_OPEN_FILES = 256
_SUPERVISOR_OPEN_FILES = 1024  # its workers set themselves 256; with the relay each has two streams in it
_CPU_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000


def pids_limit(pool: PoolDefinition) -> int:
    """64 threads of handlers, the workers themselves, supervisor and relay.

    A pool that grows beyond what its container was started with is refused a fork there and gets another container.
    """
    return _THREADS + max(pool.max_instances, _FEWEST_WORKERS) + 2


def kind(pool: PoolDefinition, image_id: str) -> str:
    """Names everything that cannot change after a start: containers of one kind differ in their past alone."""
    limits = pool.resource_limits
    parts = [image_id, limits.cpu_limit, limits.memory_bytes, pids_limit(pool), pool.network, *pool.volume_mounts]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def walled(
    *,
    image_id: str,
    scratch: Sequence[str],
    pool: PoolDefinition,
    settings: DockerSettings,
    network: str,
    volumes: Sequence[Volume],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """A container with every wall, for any image. `network` is "none" or the name of a bridge.

    `scratch` are the folders that the image declares as volumes: the engine would back each with the host's disk,
    without bounds. Each is memory instead, empty and bounded, unless the pool mounts something there.
    """
    mounts = [_bind(volume.source, str(volume.target), read_only=not volume.writable) for volume in volumes]
    taken = {TMP, *(mount["Target"] for mount in mounts)}
    mounts += [_scratch(folder) for folder in scratch if folder not in taken]
    memory_bytes = pool.resource_limits.memory_bytes
    host: dict[str, Any] = {
        "NetworkMode": network,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={_seccomp_profile()}"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "Tmpfs": {
            TMP: f"rw,noexec,nosuid,nodev,mode=1777,size={_TMP_BYTES},nr_inodes={_TMP_FILES}",
            "/dev/mqueue": "ro,noexec,nosuid,nodev,size=4k",  # message queues would outlive whoever made them
        },
        "Mounts": mounts,
        "IpcMode": "none",  # of its own, and without /dev/shm
        "Devices": [],
        "PidsLimit": pids_limit(pool),
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,  # memory and swap together: no swap
        # a quota rather than NanoCpus, which an engine with fewer processors refuses
        "CpuPeriod": _CPU_PERIOD_US,
        "CpuQuota": max(_LEAST_QUOTA_US, round(float(pool.resource_limits.cpu_limit) * _CPU_PERIOD_US)),
        "Ulimits": [_ulimit("nofile", _OPEN_FILES), _ulimit("core", 0), _ulimit("msgqueue", 0)],
        "OomScoreAdj": 500,
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
        # an engine older than 24.0.8 that comes back would remove such containers while they run (moby issue 46308)
        "AutoRemove": False,
    }
    if settings.runtime is not None:
        host["Runtime"] = settings.runtime
    return {
        "Image": image_id,
        "User": settings.user,
        "StopSignal": "SIGKILL",  # process 1 hears no other: an engine that stops would wait for it in vain
        "Hostname": "sandbox",
        "Labels": dict(labels),
        "HostConfig": host,
    }


def running_our_runner(config: dict[str, Any], *, pool: PoolDefinition, dial: Path | None) -> dict[str, Any]:
    """The same for our own runner's image: its settings, its supervisor's share, and the folder it dials home from.

    Without `dial` it speaks over its standard input and output, which the caller attaches.
    """
    given = config["HostConfig"]
    memory_bytes = pool.resource_limits.memory_bytes + SUPERVISOR_BYTES
    # an image's scratch folders would outlive calls: in our runner's they are there and empty
    mounts = [{**mount, "ReadOnly": True} if mount["Type"] == "tmpfs" else mount for mount in given["Mounts"]]
    mounts += [_bind(dial, DIAL_FOLDER, read_only=True)] if dial is not None else []
    ulimits = [_ulimit("nofile", _SUPERVISOR_OPEN_FILES), *given["Ulimits"][1:]]
    host = {**given, "Memory": memory_bytes, "MemorySwap": memory_bytes, "Mounts": mounts, "Ulimits": ulimits}
    return {
        **config,
        "Cmd": [json.dumps(_zygote_settings(host, pool=pool, has_dial=dial is not None))],
        "AttachStderr": True,
        "HostConfig": host,
    }


def _zygote_settings(host: Mapping[str, Any], *, pool: PoolDefinition, has_dial: bool) -> dict[str, Any]:
    """`walls.Settings`; what was promised is looked at from inside."""
    return {
        "tmp": TMP,
        "memory_bytes": pool.resource_limits.memory_bytes,
        "control_path": f"{DIAL_FOLDER}/{DIAL_NAME}" if has_dial else None,
        "promises": {
            "memory_bytes": host["Memory"],
            "pids": host["PidsLimit"],
            "tmp": TMP,
            "tmp_bytes": _TMP_BYTES,
            "tmp_files": _TMP_FILES,
            "has_network": host["NetworkMode"] != "none",
            "writable": [mount["Target"] for mount in host["Mounts"] if not mount["ReadOnly"]],
        },
    }


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    """Without what is mounted below the source: an older engine would leave that writable."""
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
    }


def _scratch(target: str) -> dict[str, Any]:
    options = {"SizeBytes": _SCRATCH_BYTES, "Mode": 0o1777}
    return {"Type": "tmpfs", "Target": target, "ReadOnly": False, "TmpfsOptions": options}


def _ulimit(name: str, number: int) -> dict[str, Any]:
    return {"Name": name, "Soft": number, "Hard": number}


@cache
def _seccomp_profile() -> str:
    return json.dumps(json.loads(_SECCOMP_FILE.read_text()), separators=(",", ":"))
