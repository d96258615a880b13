"""The supervisor of one sandbox: builds its walls, loads everything once, then forks, kills and reaps workers.

It takes commands from the driver over a sequenced-packet socket, one JSON object each, and answers with events. The
socket was handed down by a driver on this machine, is dialed (a container), or leads to the relay (`relay.py`):

    {"command": "fork", "worker"}, with the worker's stream as SCM_RIGHTS
    {"command": "kill", "worker"}
    {"command": "memory", "worker"}
    {"command": "usage", "worker": ""}

    {"event": "ready", "pid", "walls"}      first of all
    {"event": "forked", "worker", "pid"}    or {"event": "refused", "worker", "message"}
    {"event": "exited", "worker", "reason", "status"}
    {"event": "memory", "worker", "bytes"}
    {"event": "usage", "bytes", "cpu_s"}    the supervisor and its workers, ended ones included

It ends, and everything with it, when that socket closes.
"""

import gc
import importlib
import json
import os
import platform
import select
import signal
import socket
import stat
import sys
from dataclasses import asdict
from typing import Any

from . import landlock, process_groups, relay, seccomp, sweep, usage, walls
from .promises import Promises
from .walls import OomScore, Settings, WallReport

PACKET_BYTES = 64 * 1024
# the worker with orjson and Jinja2, and what handlers import most
_PRELOADED = (
    "uhlp_runner.worker",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "itertools",
    "math",
    "re",
    "statistics",
    "string",
    "typing",
    "unicodedata",
)


class Child:
    """A worker as its supervisor sees it."""

    __slots__ = ("killed", "name", "pid")

    def __init__(self, name: str, pid: int) -> None:
        self.name, self.pid, self.killed = name, pid, False


def preload(has_network: bool) -> None:
    """Load what workers need, so that a fork has it for nothing."""
    for module in _PRELOADED:
        importlib.import_module(module)
    if seccomp.is_supported():
        seccomp.worker_template(platform.machine(), has_network=has_network)
    gc.collect()
    gc.freeze()


class Zygote:
    """One loop over the driver's socket and the ends of children."""

    def __init__(self, settings: Settings, built: WallReport, control: socket.socket, oom_score: OomScore) -> None:
        self._settings = settings
        self._walls = built
        self._control = control
        self._oom_score = oom_score
        self._children: dict[str, Child] = {}
        self._oom_kills = usage.OomKills(usage.oom_kills if settings.promises else int)  # of a container of its own
        self._ended_read, self._ended_write = os.pipe()
        for end in (self._ended_read, self._ended_write):
            os.set_blocking(end, False)

    def run(self) -> None:
        """Serve until the driver's end closes."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ended_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._ended_read, select.POLLIN)
        self._tell(event="ready", pid=os.getpid(), walls=asdict(self._walls))
        _silence()
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._ended_read:
                    os.read(self._ended_read, 4096)
                    self._reap()
                elif not self._obey():
                    return

    def end(self) -> None:
        """Kill what is left."""
        for child in list(self._children.values()):
            child.killed = True
            process_groups.end(child.pid)

    def _obey(self) -> bool:
        """One command; False when the driver has gone."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._control, PACKET_BYTES, 1)
        except OSError:
            return False
        if not packet:
            return False
        message = json.loads(packet)
        name = message["worker"]
        child = self._children.get(name)
        if message["command"] == "fork":
            self._fork(name, descriptors[0])
        elif message["command"] == "usage":
            self._tell_usage()
        elif child is None:
            return True
        elif message["command"] == "kill":
            child.killed = True
            process_groups.kill(child.pid)
        elif message["command"] == "memory":
            self._tell(event="memory", worker=name, bytes=usage.resident_bytes(child.pid))
        return True

    def _fork(self, name: str, stream_fd: int) -> None:
        folder = self._new_folder(name)
        try:
            self._oom_score.offer_forks()
            pid = os.fork()
        except OSError as fault:
            self._oom_score.spare()
            self._tell(event="refused", worker=name, message=str(fault))
            os.close(stream_fd)
            return
        if pid == 0:
            self._become_worker(folder, stream_fd)
        self._oom_score.spare()
        os.close(stream_fd)
        process_groups.lead(pid)
        self._children[name] = Child(name, pid)
        self._tell(event="forked", worker=name, pid=pid)

    def _new_folder(self, name: str) -> str:
        """The worker's own folder; /tmp itself while a neighbour has filled it, because that must not stop a start."""
        folder = f"{self._settings.tmp}/{name}"
        try:
            os.mkdir(folder, 0o700)  # noqa: PTH102 - no pathlib in the supervisor
        except OSError:
            return self._settings.tmp
        return folder

    def _become_worker(self, folder: str, stream_fd: int) -> None:
        """In the child: the second set of walls, then serve; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            self._oom_score.close()
            os.close(self._ended_read)
            os.close(self._ended_write)
            process_groups.lead(0)
            walls.end_with_parent()
            walls.hide_memory()
            os.chdir(folder)
            os.environ["TMPDIR"] = folder
            limits = walls.Limits(self._settings.memory_bytes, self._settings.count_threads)
            walls.apply_limits(limits, workers=len(self._children) + 2)
            if self._walls.own_files:
                landlock.keep_to(folder, self._settings.tmp)
            if self._walls.system_calls:
                walls.filter_worker_calls(self._settings.has_network)
            from . import worker

            worker.Worker(socket.socket(fileno=stream_fd), asdict(self._walls)).serve()
            status = 0
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Collect every child that has ended; a worker's end is reported when nothing it started is left."""
        ended = {}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            ended[pid] = status
        self._oom_kills.look(most=len(self._children))
        for child in [child for child in self._children.values() if child.pid in ended]:
            del self._children[child.name]
            process_groups.end(child.pid)
            self._sweep()
            status = ended[child.pid]
            # a driver that has seen the stream of a dead worker close may have had us kill it before we knew
            by_us = not self._oom_kills.explain(status) and child.killed
            reason = process_groups.why_ended(status, by_us=by_us)
            self._tell(event="exited", worker=child.name, reason=reason, status=status)

    def _sweep(self) -> None:
        """Empty our /tmp, or the folder that stands in for it; never one that others write to."""
        tmp = self._settings.tmp
        if self._walls.private_tmp or not os.stat(tmp).st_mode & stat.S_IWOTH:  # noqa: PTH116
            sweep.sweep(tmp, keep=self._children.keys())

    def _tell_usage(self) -> None:
        pids = [os.getpid(), *(child.pid for child in self._children.values())]
        ended = os.times()
        cpu_s = sum(map(usage.cpu_s, pids)) + ended.children_user + ended.children_system
        self._tell(event="usage", bytes=sum(map(usage.resident_bytes, pids)), cpu_s=cpu_s)

    def _tell(self, **event: Any) -> None:
        try:
            self._control.send(json.dumps(event).encode())
        except OSError:
            return  # the driver has gone; the next read says so


def _silence() -> None:
    """Lead descriptors 0, 1 and 2 to nowhere: the driver has heard all it will hear from them."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def main() -> None:
    """Entry point: the last argument holds the settings as JSON."""
    settings = _settings(sys.argv[-1])
    os.environ.clear()
    os.environ["HOME"] = "/nonexistent"
    control = _control(settings)
    oom_score = OomScore()
    built = walls.build(settings)
    preload(settings.has_network)
    zygote = Zygote(settings, built, control, oom_score)
    try:
        zygote.run()
    finally:
        zygote.end()


def _settings(text: str) -> Settings:
    fields = json.loads(text)
    promises = fields.pop("promises", None)
    return Settings(**fields, promises=None if promises is None else Promises(**promises))


def _control(settings: Settings) -> socket.socket:
    """The driver's socket; no other descriptor stays open but the standard ones."""
    if settings.control_fd is not None:
        os.closerange(3, settings.control_fd)
        os.closerange(settings.control_fd + 1, 1024)
        return socket.socket(fileno=settings.control_fd)
    os.closerange(3, 1024)
    if settings.control_path is None:
        return socket.socket(fileno=relay.stand_between(settings.uid))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.connect(settings.control_path)
    return control
