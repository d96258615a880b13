"""Held: what a server holds at one moment, seen from outside."""

import os
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.server import Server

_TASKS = re.compile(r"^uhlp_process_tasks (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Held:
    """Memory, descriptors and threads of the process that serves, by /proc; its tasks, by /metrics, which counts them
    every few seconds; the processes below it, dead ones that nobody has waited for among them; its sandboxes, by
    /admin/v1/sandboxes, which are containers where Docker runs them. `at_s` is monotonic.
    """

    at_s: float
    memory_mib: float
    descriptors: int
    threads: int
    tasks: int
    processes: int
    sandboxes: int

    @property
    def counts(self) -> dict[str, int]:
        """All but time and memory, by name."""
        return {name: getattr(self, name) for name in COUNTED}


COUNTED = ("descriptors", "threads", "tasks", "processes", "sandboxes")


def held_by(server: Server, at_s: float) -> Held:
    process = Path(f"/proc/{server.worker_pid}")
    pages = int((process / "statm").read_text().split()[1])
    tasks = _TASKS.search(server.http.get("/metrics").text)
    assert tasks is not None, "/metrics shows no tasks"
    return Held(
        at_s=at_s,
        memory_mib=pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20),
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        tasks=int(float(tasks[1])),
        processes=_below(process),
        sandboxes=len(server.administer("GET", "/sandboxes")["sandboxes"]),
    )


def _below(process: Path) -> int:
    """Children and theirs."""
    try:
        of_threads = [(thread / "children").read_text().split() for thread in (process / "task").iterdir()]
    except OSError:  # it ended while we looked
        return 0
    children = [pid for pids in of_threads for pid in pids]
    return len(children) + sum(_below(Path(f"/proc/{pid}")) for pid in children)


def messages_in(server: Server) -> dict[str, int]:
    """How many messages each mailbox holds, those of dead letters among them; mailboxes that hold none are left out."""
    with closing(sqlite3.connect(f"file:{server.data_dir / 'mailbox.db'}?mode=ro", uri=True)) as file:
        return dict(file.execute("SELECT mailbox, count(*) FROM messages GROUP BY mailbox"))
