"""The process above the worker, and what is heard of uvicorn."""

import logging
from socket import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.supervisors.multiprocess import Multiprocess

STARTS_WITHIN_S = 60

LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "filters": {"once": {"()": "uhlp.cli.supervisor.SaidOnce"}},
    "loggers": {
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "uvicorn.error": {"level": "WARNING", "filters": ["once"]},
    },
}
"""Warnings and errors alone. The filter stays when the worker sets up logging of its own."""


class SaidOnce(logging.Filter):
    """Leaves out what uvicorn adds to the line in which the worker says why it cannot start."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not ("Application startup failed" in text or "failed to start, stopping" in text)


class Supervisor(Multiprocess):
    """Replaces a worker that died; prints `greeting` once the first one serves.

    It keeps no end of the workers' own pipes: a worker that dies while it is asked for a sign of life ends the waiting,
    and one that is only busy has all of `timeout_worker_healthcheck` to answer.
    """

    def __init__(self, config: Config, *, sockets: list[socket], greeting: str) -> None:
        super().__init__(config, sockets)
        self._greeting = greeting

    def init_processes(self) -> None:
        super().init_processes()
        self._let_go()
        if self.processes[0].wait_until_ready(STARTS_WITHIN_S, self.should_exit):
            print(self._greeting, flush=True)

    def keep_subprocess_alive(self) -> None:
        super().keep_subprocess_alive()
        self._let_go()

    def _let_go(self) -> None:
        for process in self.processes:
            process.child_conn.close()
