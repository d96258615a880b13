"""Starts commands as processes of this machine; what has started is known until it has ended."""

import asyncio
import contextlib
import itertools
import json
import math
import os
import subprocess
from pathlib import Path

from uhlp.errors import ImageUnavailable, SandboxDied
from uhlp.models.definition import RUNNER_IMAGE
from uhlp.models.image_name import ImageReference
from uhlp.sandbox.command import CommandLimits, CommandSpec
from uhlp.sandbox.drivers import bubblewrap
from uhlp.sandbox.drivers.command_view import CommandView, open_view
from uhlp.sandbox.drivers.identities import Identities
from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.marked_processes import MARK
from uhlp.sandbox.drivers.process_command import ProcessCommand

_BOOT = "import sys; sys.path.append(sys.argv[1]); from uhlp_runner.command import main; main()"
_START_LIMIT_S = 10.0
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": bubblewrap.TMP, "TMPDIR": bubblewrap.TMP, "LANG": "C.UTF-8"}


class ProcessCommands:
    """`bwrap` is bubblewrap's path, `home` the runner's; ids of commands begin with the server's `instance`."""

    def __init__(
        self, *, bwrap: str, interpreter: Interpreter, home: Path, data_dir: Path, identities: Identities, instance: str
    ) -> None:
        self._bwrap = bwrap
        self._interpreter = interpreter
        self._home = home
        self._data_dir = data_dir
        self._identities = identities
        self._instance = instance
        self._numbers = itertools.count(1)
        self._commands: dict[str, ProcessCommand] = {}

    async def open(self, spec: CommandSpec) -> ProcessCommand:
        """A command that runs. Raises CommandRefused, IsolationRefused, ImageUnavailable, SandboxDied."""
        if ImageReference.parse(spec.image).repository != RUNNER_IMAGE:
            raise ImageUnavailable(f"Commands of {spec.owner} want the image {spec.image}; processes start from none.")
        with open_view(spec, hidden=[self._data_dir]) as view:
            try:
                command = self._start(spec, view)
            except (OSError, ValueError) as error:
                raise SandboxDied(f"The command's sandbox did not start: {error}") from error
        await command.open(_START_LIMIT_S)
        return command

    async def close(self) -> None:
        """End every command."""
        await asyncio.gather(*(command.kill() for command in list(self._commands.values())))

    def _start(self, spec: CommandSpec, view: CommandView) -> ProcessCommand:
        """One millisecond in the loop's thread: `--die-with-parent` would fire when a helper thread ends.

        Everything taken for it (user, descriptors) is given back when it fails, else when it has ended.
        """
        command_id = f"{self._instance}.{spec.owner}.command.{next(self._numbers)}"
        with contextlib.ExitStack() as taken, contextlib.ExitStack() as for_the_child:
            uid = self._identities.take()
            taken.callback(self._identities.give_back, uid)
            status_read, status_write = _pipe(taken, for_the_child)
            info_read, info_write = _pipe(taken, for_the_child)
            settings_fd = os.memfd_create("settings")
            for_the_child.callback(os.close, settings_fd)
            os.write(settings_fd, json.dumps(self._settings(spec, view, uid, status_write)).encode())
            os.lseek(settings_fd, 0, os.SEEK_SET)
            line = bubblewrap.command_of_the_machine(
                self._bwrap,
                interpreter=self._interpreter,
                home=self._home,
                programs=view.programs,
                folders=view.folders,
                has_network=spec.has_network,
                info_fd=info_write,
                is_root=os.geteuid() == 0,
            )
            line += [str(self._interpreter.executable), "-I", "-S", "-B", "-Xutf8", "-c", _BOOT]
            line += [str(bubblewrap.HOME), MARK + command_id, str(settings_fd)]
            seen = (volume.descriptor for volume in (*view.programs, *view.folders))
            process = subprocess.Popen(  # noqa: S603 - our own command line
                line,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                bufsize=0,
                pass_fds=(status_write, info_write, settings_fd, *seen),
                start_new_session=True,
            )
            taken.callback(process.communicate)
            taken.callback(process.kill)

            def ended() -> None:
                self._commands.pop(command_id, None)
                self._identities.give_back(uid)

            command = self._commands[command_id] = ProcessCommand(
                command_id=command_id,
                process=process,
                status_fd=status_read,
                info_fd=info_read,
                memory_bytes=spec.limits.memory_bytes,
                on_end=ended,
            )
            taken.pop_all()  # it is the command's now
        return command

    def _settings(self, spec: CommandSpec, view: CommandView, uid: int | None, status_fd: int) -> dict[str, object]:
        seen = {volume.target for volume in view.programs}
        executable = self._interpreter.executable
        hidden = [bubblewrap.HOME]
        if executable not in seen and not executable.is_relative_to("/usr/lib"):
            hidden.append(executable)
        return {
            "argv": spec.argv,
            "environment": {**_ENVIRONMENT, **spec.environment},
            "status_fd": status_fd,
            "tmp": bubblewrap.TMP,
            "hidden": [str(path) for path in hidden],
            "uid": uid,
            "limits": _limits(spec.limits),
            "has_network": spec.has_network,
        }


def _limits(limits: CommandLimits) -> dict[str, int]:
    """By the kernel's names."""
    named = {
        "AS" if limits.counts_reservations else "DATA": limits.memory_bytes,
        "NPROC": limits.processes,
        "NOFILE": limits.open_files,
        "FSIZE": limits.file_bytes,
        "CORE": 0,
    }
    if limits.cpu_s is not None:
        named["CPU"] = math.ceil(limits.cpu_s)
    return named


def _pipe(ours: contextlib.ExitStack, childs: contextlib.ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    ours.callback(os.close, reading)
    childs.callback(os.close, writing)
    return reading, writing
