"""Commands of a real server: a handler runs what two lists allow, and hears why it may not run the rest."""

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server, kill, wait_until
from tests.shown_metrics import series_of
from tests.walls import need_walls
from uhlp.catalogue.sandboxes import COMMANDS, COMMANDS_RUNNING

SORT, SLEEP = "/usr/bin/sort", "/usr/bin/sleep"
_HANDLER = """\
from uhlp_runtime import ToolFailed, call_tool


def handle(inputs, context):
    try:
        return call_tool("core.linux.executeCommand", inputs)
    except ToolFailed as error:
        return {"refused": error.code, "why": error.message}
"""


def _application(**more: Any) -> dict[str, Any]:
    script = "_jit_code/run/v1/handler.py"
    component = {
        "componentId": "run",
        "handlerType": "JIT",
        "routeMatcher": {"pathPattern": "/run", "methods": ["POST"]},
        "taskDetails": {"script": script, "function": "handle"},
        "tools": ["core.linux.executeCommand"],
        "timeoutMs": 20_000,
    }
    files = {"component_registry.yaml": json.dumps({"components": [component]}), script: _HANDLER}
    return {"definition": {"appId": "lists", "public": True, **more}, "files": files}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    need_walls()
    allowed = json.dumps({"lists": [SORT, SLEEP, "/usr/bin/cut"]})
    settings = {"UHLP_SANDBOX__DRIVER": "process", "UHLP_COMMANDS__ALLOWED": allowed}
    with Server(tmp_path_factory.mktemp("commands") / "data", environment=settings) as started:
        started.administer("POST", "/apps", _application(commands=[SORT, SLEEP, "/usr/bin/env"]))
        yield started


def run(server: Server, *argv: str, **given: Any) -> dict[str, Any]:
    answer = server.http.post("/apps/lists/run", json={"command": list(argv), **given})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_handler_sorts_with_the_machines_sort(server: Server) -> None:
    answer = run(server, SORT, "-r", "-u", stdin="fig\nplum\nfig\napple\n")
    assert (answer["stdout"], answer["exitCode"], answer["timedOut"]) == ("plum\nfig\napple\n", 0, False)
    shown = server.http.get("/metrics").text
    assert series_of(shown, COMMANDS)["lists", "ok"] >= 1
    assert series_of(shown, COMMANDS_RUNNING) == {("lists",): 0}


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/usr/bin/cut", "does not list /usr/bin/cut"),
        ("/usr/bin/env", "commands.allowed does not give /usr/bin/env"),
        ("/bin/sh", "commands.allowed does not give /bin/sh"),
        ("/usr/bin/../bin/sort", "no plain absolute path"),
        ("sort", "no plain absolute path"),
    ],
)
def test_every_other_program_is_refused_with_the_reason(server: Server, path: str, why: str) -> None:
    answer = run(server, path)
    assert answer["refused"] == "COMMAND_REFUSED"
    assert why in answer["why"]


def test_an_owner_takes_away_and_cannot_add(server: Server) -> None:
    mask = {"updateMask": ["commands"]}
    for commands, path in ((["/bin/sh", SORT], "/bin/sh"), ([], SORT)):
        server.administer("PATCH", "/apps/lists", {**mask, "definition": {"appId": "lists", "commands": commands}})
        assert run(server, path)["refused"] == "COMMAND_REFUSED"
    wrong = {**mask, "definition": {"appId": "lists", "commands": ["/usr/bin/../bin/sh"]}}
    assert server.http.patch("/admin/v1/apps/lists", headers=server.admin, json=wrong).status_code == 422
    restored = {**mask, "definition": {"appId": "lists", "commands": [SORT, SLEEP]}}
    server.administer("PATCH", "/apps/lists", restored)
    assert run(server, SORT, stdin="a")["stdout"] == "a\n"


def test_a_command_ends_at_its_time(server: Server) -> None:
    answer = run(server, SLEEP, "1000", timeoutMs=200)
    assert (answer["timedOut"], answer["exitCode"]) == (True, None)
    assert not server.sandboxes("lists.command")


def test_a_command_dies_with_its_server(server: Server) -> None:
    def ask() -> None:
        with suppress(httpx.HTTPError):
            server.http.post("/apps/lists/run", json={"command": [SLEEP, "1000"], "timeoutMs": 20_000})

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: server.sandboxes("lists.command"), "the command runs")
    kill(server.worker_pid)
    wait_until(lambda: not server.sandboxes("lists.command"), "the command has ended")
    asking.join(20)
