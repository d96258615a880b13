"""Processes of sandboxes, known by a mark on their command lines: what the machine says, not what is remembered."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import structlog

MARK = "uhlp-sandbox="
_GONE_WITHIN_MS = 2_000
_PIDS_LOGGED = 10
_log = structlog.get_logger(__name__)


def marked_processes(instance: str) -> Iterator[tuple[int, str]]:
    """(process id, sandbox id) of every process of this server's sandboxes, whose ids begin with `<instance>.`"""
    mark = f"{MARK}{instance}.".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for argument in (folder / "cmdline").read_bytes().split(b"\0"):
                if argument.startswith(mark):
                    yield int(folder.name), argument[len(MARK) :].decode(errors="replace")


def end_orphans(instance: str) -> None:
    """Kill sandboxes of a server that died here before us, and wait until they have gone.

    Anybody may write our mark on a command line: what belongs to another user is passed over.
    """
    passed_over = []
    for pid, sandbox_id in marked_processes(instance):
        with contextlib.suppress(ProcessLookupError):
            try:
                _end(pid)
            except PermissionError:
                passed_over.append(pid)
            else:
                _log.warning("orphaned_sandbox_killed", sandbox=sandbox_id, pid=pid)
    if passed_over:
        _log.warning("orphans_of_another_user_left", processes=len(passed_over), pids=passed_over[:_PIDS_LOGGED])


def _end(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(_GONE_WITHIN_MS)
    finally:
        os.close(descriptor)
