"""The process driver: sandboxes as processes of this machine, inside bubblewrap where it works.

What holds is found out at `open` by starting a sandbox and asking it; a later sandbox that reports less is refused.
What it cannot promise, whatever the machine: the kernel is shared, processor time is bounded by deadlines alone, and
workers of one sandbox share a user and /tmp (they belong to one application and one group).
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from uhlp.errors import ImageUnavailable, IsolationRefused, SandboxDied
from uhlp.models.definition import RUNNER_IMAGE, PoolDefinition
from uhlp.models.image_name import ImageReference
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.sandbox.driver import Capabilities, SandboxSpec
from uhlp.sandbox.drivers import bubblewrap, runner_home
from uhlp.sandbox.drivers.identities import Identities
from uhlp.sandbox.drivers.interpreter import Interpreter, is_readable_by_others
from uhlp.sandbox.drivers.marked_processes import MARK, end_orphans, marked_processes
from uhlp.sandbox.drivers.process_commands import ProcessCommands
from uhlp.sandbox.drivers.process_sandbox import ProcessSandbox
from uhlp.sandbox.drivers.volumes import Volume, open_volumes

__all__ = ["ProcessDriver", "ProcessSandbox"]

_log = structlog.get_logger(__name__)
_BOOT = "import sys; sys.path.append(sys.argv[1]); from uhlp_runner.zygote import main; main()"
_PROBE = SandboxSpec(app_id="uhlp-probe", pool=PoolDefinition(pool_name="probe"), group="trial")
_PROBE_VOLUME = Path("/volume")


class ProcessDriver:
    """One zygote per sandbox, started by exec from the loop's thread (it dies with the thread that started it)."""

    def __init__(
        self,
        *,
        data_dir: Path,
        allow_unisolated: bool,
        production: bool,
        volume_allow: tuple[str, ...] = (),
        bwrap: str = "bwrap",
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._allow_unisolated = allow_unisolated
        self._production = production
        self._volume_allow = volume_allow
        self.instance = hashlib.sha256(str(self._data_dir).encode()).hexdigest()[:12]
        self._identities = Identities(str(self._data_dir))
        self._interpreter = Interpreter.own()
        self._home = Path()
        self._bwrap = shutil.which(bwrap)
        self._capabilities: Capabilities | None = None
        self._sandboxes: dict[str, ProcessSandbox] = {}
        self._commands: ProcessCommands | None = None
        self._no_volumes = ""
        """Why nothing can be shown inside by its descriptor; empty where it can."""
        self._numbers = itertools.count(1)

    async def open(self) -> Capabilities:
        """Assemble the runner, end what a dead server left behind, and start a sandbox to see which walls hold."""
        self._home = await asyncio.to_thread(runner_home.assemble, self._data_dir)
        await asyncio.to_thread(end_orphans, self.instance)
        self._capabilities = await self._probe()
        if self._bwrap is not None and self._is_isolated and not self._no_volumes:
            self._commands = ProcessCommands(
                bwrap=self._bwrap,
                interpreter=self._interpreter,
                home=self._home,
                data_dir=self._data_dir,
                identities=self._identities,
                instance=self.instance,
            )
        _log.info("process_driver_opened", isolation=self._capabilities.isolation, missing=self._capabilities.missing)
        return self._capabilities

    @property
    def capabilities(self) -> Capabilities:
        """What was found out at `open`."""
        return self._capabilities or Capabilities("process", "none", ("everything: the driver is not open",))

    async def start(self, spec: SandboxSpec) -> ProcessSandbox:
        """Start one sandbox."""
        if self._capabilities is None:
            raise RuntimeError("open the driver first")
        if not await self.has_runner(spec.pool.docker_image):
            raise ImageUnavailable(
                f"Pool {spec.pool.pool_name} wants the image {spec.pool.docker_image}, and processes start from no "
                "image: set sandbox.driver to docker, or give its components another pool."
            )
        if not self._is_isolated and self._production and not self._allow_unisolated:
            raise IsolationRefused(details={"missing": list(self._capabilities.missing)})
        started_s = time.perf_counter()
        sandbox = await self._launch(spec)
        if self._is_isolated and sandbox.walls["missing"]:
            await sandbox.stop("its walls are incomplete")
            raise IsolationRefused(details={"missing": sandbox.walls["missing"]})
        took_ms = round((time.perf_counter() - started_s) * 1e3, 1)
        _log.info("sandbox_started", sandbox=sandbox.sandbox_id, app_id=spec.app_id, group=spec.group, ms=took_ms)
        return sandbox

    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        """Behind every wall or not at all: what the settings allow to handlers, they allow to no command."""
        if self._commands is None:
            missing = self.capabilities.missing
            raise IsolationRefused(
                f"This machine cannot isolate commands, and none runs without walls: {'; '.join(missing)}.",
                details={"missing": list(missing)},
            )
        return await self._commands.open(spec)

    async def has_runner(self, image: str) -> bool:
        """Only our runner's own: processes start from no image, and what another one holds is not here."""
        return ImageReference.parse(image).repository == RUNNER_IMAGE

    async def list_owned(self) -> list[str]:
        """Ids of living sandboxes, read from /proc."""
        found = await asyncio.to_thread(lambda: list(marked_processes(self.instance)))
        return sorted({sandbox_id for _, sandbox_id in found})

    async def run_cycle(self) -> None:
        """Nothing to do: a sandbox ends with the control socket of its server, and `open` ends what a dead one left."""

    def status(self) -> dict[str, Any]:
        """Nothing beside the capabilities."""
        return {}

    async def close(self) -> None:
        """Stop every sandbox."""
        if self._commands is not None:
            await self._commands.close()
        async with asyncio.TaskGroup() as stops:
            for sandbox in list(self._sandboxes.values()):
                stops.create_task(sandbox.stop("the server ends"))

    @property
    def _is_isolated(self) -> bool:
        return self._capabilities is not None and self._capabilities.isolation == "namespaces"

    async def _probe(self) -> Capabilities:
        missing: list[str] = []
        if self._bwrap is None:
            missing.append("bubblewrap is not installed (package bubblewrap)")
        else:
            try:
                return await self._probe_bubblewrap()
            except SandboxDied as error:
                missing.append(
                    f"bubblewrap does not work here (containers: see /docs/uhlp/deployment): {error.message}"
                )
                self._bwrap = None
        try:
            capabilities = await self._self_test()
        except SandboxDied as error:
            return Capabilities("process", "none", (*missing, error.message))
        return Capabilities("process", "none", (*missing, *capabilities.missing), capabilities.facts)

    async def _probe_bubblewrap(self) -> Capabilities:
        """What holds, tried as sandboxes with volumes are started; without them where that is what fails."""
        descriptor = os.open(self._home, os.O_PATH | os.O_DIRECTORY)
        try:
            return await self._self_test(Volume(self._home, _PROBE_VOLUME, False, descriptor))
        except SandboxDied as died:
            capabilities = await self._self_test()
            self._no_volumes = (
                "volumes and commands need bubblewrap 0.10, or an older one with its security update of 2024 "
                f"(--ro-bind-fd): {died.message}"
            )
            return replace(capabilities, missing=(*capabilities.missing, self._no_volumes))
        finally:
            os.close(descriptor)

    async def _self_test(self, *volumes: Volume) -> Capabilities:
        """Start a sandbox and a worker, and report the walls they report."""
        sandbox = await self._launch(_PROBE, *volumes)
        try:
            worker = await sandbox.start_worker()
            worker.endpoint.close()
        finally:
            await sandbox.stop("the probe is over")
        missing = tuple(sandbox.walls["missing"])
        facts = [f"user {sandbox.walls['uid']}", f"Python {worker.hello['python']}"]
        if sandbox.walls["system_calls"]:
            facts.append("filter of system calls in supervisor and workers")
        facts.append(
            "files of each worker its own"
            if sandbox.walls["own_files"]
            else "workers of a sandbox reach each other's temporary files: the kernel has no Landlock"
        )
        if self._bwrap is None:
            if os.geteuid() == 0 and sandbox.walls["uid"] == 0:
                missing += ("own user: this Python cannot be read by other users",)
            return Capabilities("process", "none", missing, tuple(facts))
        facts += [
            "own process, network, mount, IPC and host name spaces",
            "memory by address space, no processor share",
        ]
        return Capabilities("process", "none" if missing else "namespaces", missing, tuple(facts))

    async def _launch(self, spec: SandboxSpec, *more: Volume) -> ProcessSandbox:
        if spec.pool.volume_mounts and (self._bwrap is None or self._no_volumes):
            raise IsolationRefused(self._no_volumes or "Volumes need bubblewrap, which does not work here.")
        with open_volumes(
            spec.pool.volume_mounts,
            self._volume_allow,
            hidden=[self._data_dir],
            occupied=[bubblewrap.HOME, self._interpreter.library, self._interpreter.executable],
        ) as volumes:
            try:
                sandbox = self._start_process(spec, [*volumes, *more])
            except (OSError, ValueError) as error:
                raise SandboxDied(f"The sandbox did not start: {error}") from error
        await sandbox.wait_until_ready()
        return sandbox

    def _start_process(self, spec: SandboxSpec, volumes: list[Volume]) -> ProcessSandbox:
        """Everything taken for it (user, folder, descriptors) is given back when it fails, else when it has ended."""
        sandbox_id = f"{self.instance}.{spec.app_id}.{spec.pool.pool_name}.{spec.group}.{next(self._numbers)}"
        with contextlib.ExitStack() as taken, contextlib.ExitStack() as for_the_child:
            uid = self._identities.take() if self._bwrap or self._can_change_user() else None
            taken.callback(self._identities.give_back, uid)
            tmp = bubblewrap.TMP if self._bwrap else _own_folder(uid)
            if self._bwrap is None:
                taken.callback(shutil.rmtree, tmp, True)
            control, zygote_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            taken.callback(control.close)
            for_the_child.callback(zygote_end.close)
            info_read, info_write = os.pipe()
            (taken if self._bwrap else for_the_child).callback(os.close, info_read)
            for_the_child.callback(os.close, info_write)
            settings = {
                "control_fd": zygote_end.fileno(),
                "tmp": tmp,
                "memory_bytes": spec.pool.resource_limits.memory_bytes,
                "uid": uid,
                "own_tmp": self._bwrap is not None,
                "count_threads": uid is not None or self._bwrap is not None,
            }
            process = self._exec(sandbox_id, volumes, settings, info_write, zygote_end.fileno())
            taken.callback(_end, process)
            process_fd = os.pidfd_open(process.pid)

            def clean_up(ended: ProcessSandbox) -> None:
                self._sandboxes.pop(ended.sandbox_id, None)
                self._identities.give_back(uid)
                if self._bwrap is None:
                    asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, tmp, True)

            sandbox = self._sandboxes[sandbox_id] = ProcessSandbox(
                sandbox_id=sandbox_id,
                spec=spec,
                process=process,
                process_fd=process_fd,
                control=control,
                info_fd=info_read if self._bwrap else None,
                on_end=clean_up,
            )
            taken.pop_all()  # it is the sandbox's now
        return sandbox

    def _exec(
        self, sandbox_id: str, volumes: list[Volume], settings: dict[str, Any], info_fd: int, control_fd: int
    ) -> "subprocess.Popen[bytes]":
        """One millisecond in the loop's thread: `--die-with-parent` would fire when a helper thread ends."""
        line: list[str] = []
        inherited = (control_fd, *([info_fd] if self._bwrap else ()), *(volume.descriptor for volume in volumes))
        home = self._home
        if self._bwrap:
            line = bubblewrap.command(
                self._bwrap,
                interpreter=self._interpreter,
                home=home,
                volumes=volumes,
                info_fd=info_fd,
                is_root=os.geteuid() == 0,
            )
            home = bubblewrap.HOME
        line += [str(self._interpreter.executable), "-I", "-S", "-B", "-Xutf8", "-c", _BOOT]
        line += [str(home), MARK + sandbox_id, json.dumps(settings)]
        return subprocess.Popen(  # noqa: S603 - our own command line
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=inherited,
            start_new_session=True,
        )

    def _can_change_user(self) -> bool:
        seen = (self._interpreter.executable, self._interpreter.library, self._home)
        return self._identities.is_available and all(map(is_readable_by_others, seen))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """A process that nobody watches yet."""
    process.kill()
    process.communicate()


def _own_folder(uid: int | None) -> str:
    """A temporary folder for a sandbox that shares the host's file system."""
    folder = tempfile.mkdtemp(prefix="uhlp-sandbox-")
    if uid is not None:
        os.chown(folder, uid, uid)
    return folder
