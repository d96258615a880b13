"""Servers and applications that are there for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.sandboxes import Sandboxes
from tests.e2e.model import Model
from tests.e2e.server import Server

CYCLE_S = "1"
"""A tenth of what is usual: recovery is waited for, and what a cycle would wrongly end is seen sooner."""

Register = Callable[[dict[str, Any]], None]


@contextmanager
def serving(folder: Path, model: Model, sandboxes: Sandboxes, **more: str) -> Iterator[Server]:
    """A server that leaves no sandbox when it ends."""
    environment = {**model.environment, **sandboxes.environment, "UHLP_SANDBOX__CYCLE_S": CYCLE_S, **more}
    with Server(folder / "data", environment=environment) as server:
        yield server
    assert sandboxes.left(server) == set()


@contextmanager
def registering(server: Server) -> Iterator[Register]:
    """Registers applications, and removes them afterwards."""
    registered = []

    def register(application: dict[str, Any]) -> None:
        server.administer("POST", "/apps", application)
        registered.append(application["definition"]["appId"])

    yield register
    for app_id in registered:
        server.administer("DELETE", f"/apps/{app_id}")
