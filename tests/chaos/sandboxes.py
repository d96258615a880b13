"""The sandboxes of a server as its machine sees them, so that they can be killed from outside."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.server import Server
from tests.machine_image import http_client

_MARK = "uhlp-sandbox="


class Process(NamedTuple):
    pid: int
    parent: int
    arguments: tuple[str, ...]


class ProcessSandboxes:
    """Of the process driver: bubblewrap, its child, supervisor and workers carry the sandbox's id as an argument."""

    def __init__(self) -> None:
        self.environment = {"UHLP_SANDBOX__DRIVER": "process"}

    def workers(self, sandbox_id: str) -> list[int]:
        """Forks of the supervisor: Python below Python."""
        pythons = [each for each in _marked(sandbox_id) if not each.arguments[0].endswith("bwrap")]
        return [each.pid for each in pythons if each.parent in {one.pid for one in pythons}]

    def supervisors(self, sandbox_id: str) -> list[int]:
        """Whatever ends the sandbox when it dies: the supervisor, and bubblewrap around it."""
        workers = self.workers(sandbox_id)
        return [each.pid for each in _marked(sandbox_id) if each.pid not in workers]

    def processes(self, sandbox_id: str) -> list[int]:
        """All of a sandbox."""
        return [each.pid for each in _marked(sandbox_id)]

    def left(self, server: Server) -> set[str]:
        """Ids of the sandboxes of which something runs."""
        arguments = [each for process in _processes() for each in process.arguments]
        return {each.removeprefix(_MARK) for each in arguments if each.startswith(f"{_MARK}{instance(server)}.")}

    def traces(self, server: Server) -> set[str]:
        """What a start makes and never made before: process ids, because sandboxes are numbered anew."""
        return {str(pid) for pid in server.sandboxes()}

    running = traces


class DockerSandboxes:
    """Of the Docker driver: the container's first process is the supervisor, its children are the workers."""

    driver = "docker"

    def __init__(self, engine_url: str) -> None:
        self.engine_url = engine_url
        self.environment = {"UHLP_SANDBOX__DRIVER": "docker", "UHLP_SANDBOX__DOCKER__URL": engine_url}

    def workers(self, sandbox_id: str) -> list[int]:
        first = self.supervisors(sandbox_id)
        return [each.pid for each in _processes() if each.parent in first]

    def supervisors(self, sandbox_id: str) -> list[int]:
        with http_client(self.engine_url) as http:
            answer = http.get(f"/containers/{sandbox_id}/json")
        return [pid for pid in (answer.json()["State"]["Pid"],) if pid] if answer.status_code == 200 else []

    def processes(self, sandbox_id: str) -> list[int]:
        """All of a container."""
        found, processes = self.supervisors(sandbox_id), _processes()
        for pid in found:  # grows while it is read
            found += [each.pid for each in processes if each.parent == pid]
        return found

    def left(self, server: Server) -> set[str]:
        """Names of all containers, spares and dead ones included."""
        return self._containers(server, all="1")

    traces = left

    def running(self, server: Server) -> set[str]:
        """Names of the containers in which something runs."""
        return self._containers(server)

    def _containers(self, server: Server, **query: str) -> set[str]:
        with http_client(self.engine_url) as http:
            found = http.get("/containers/json", params=query).json()
        names = {each["Names"][0].lstrip("/") for each in found if "uhlp.instance" in each["Labels"]}
        return {name for name in names if name.startswith(f"uhlp-{instance(server)}-")}


Sandboxes = ProcessSandboxes | DockerSandboxes


def ids(server: Server, app_id: str) -> list[str]:
    """Sandboxes of an application, as the server knows them."""
    listed = server.administer("GET", f"/apps/{app_id}/sandboxes")["sandboxes"]
    return [each["sandboxId"] for each in listed if each["sandboxId"] is not None]


def instance(server: Server) -> str:
    """What a server writes on all its sandboxes."""
    return hashlib.sha256(str(server.data_dir.resolve()).encode()).hexdigest()[:12]


def spares(server: Server) -> int:
    """Sandboxes that stand ready for nobody yet."""
    status: dict[str, Any] = server.administer("GET", "/sandboxes")["driverStatus"]
    return sum(status.get("spares", {}).values())


def _marked(sandbox_id: str) -> list[Process]:
    return [each for each in _processes() if _MARK + sandbox_id in each.arguments]


def _processes() -> list[Process]:
    """All of this machine that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if state != "Z":
                found.append(Process(int(folder.name), int(parent), tuple(arguments)))
    return found
