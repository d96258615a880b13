"""kill -9 of the server itself, under load: nothing of it may go on running, and it starts as if nothing had been."""

import os
import signal

import pytest

from tests.chaos.load import JIT, LLM, Load, Target
from tests.chaos.recovery import WHOLE_WITHIN_S, wait_until_whole
from tests.chaos.sandboxes import DockerSandboxes, Sandboxes
from tests.chaos.storm import ANSWERS, HANGS, slow, storm
from tests.e2e.server import Server, kill, wait_until
from tests.node_image import node_image

CALLERS = 4
TARGETS = {
    "sort": Target("/apps/desk/sort", slow(0.01)),
    "ask": Target("/apps/desk/ask", ANSWERS),
    "hangs": Target("/apps/desk/other", HANGS),
}


def kill_everything(server: Server) -> None:
    """Supervisor and worker at once."""
    assert server.process is not None
    os.killpg(server.process.pid, signal.SIGKILL)
    server.wait()


def test_no_runner_outlives_the_framework(server: Server, sandboxes: Sandboxes) -> None:
    server.administer("POST", "/apps", storm("desk", timeout_ms=4_000))
    wait_until_whole(server, sandboxes, "desk")
    before = sandboxes.traces(server)
    with Load(server, TARGETS, callers=CALLERS) as load:
        load.hear(30)
        kill_everything(server)
        wait_until(lambda: not sandboxes.running(server), "every runner has ended", WHOLE_WITHIN_S)
    assert load.outcomes("sort")[JIT]
    assert load.outcomes("ask")[LLM]
    server.start()
    wait_until(lambda: not before & sandboxes.traces(server), "nothing of the dead server is left", WHOLE_WITHIN_S)
    wait_until_whole(server, sandboxes, "desk")


@pytest.mark.long
@pytest.mark.parametrize("sandboxes", ["docker"], indirect=True)  # processes: tests/e2e/test_end_and_death.py
def test_a_killed_worker_costs_the_requests_in_flight_and_its_sandboxes_go(
    server: Server, sandboxes: Sandboxes
) -> None:
    server.administer("POST", "/apps", storm("desk", timeout_ms=4_000))
    wait_until_whole(server, sandboxes, "desk")
    before = sandboxes.traces(server)
    with Load(server, TARGETS, callers=CALLERS) as load:
        load.hear(30)
        dead = server.worker_pid
        kill(dead)
        wait_until(lambda: server.answers("/readyz") and server.worker_pid != dead, "another serves", WHOLE_WITHIN_S)
        load.hear(30)
    assert len(load.lost) <= CALLERS
    assert not [each for each in load.lost if "ConnectError" in each]
    wait_until(lambda: not before & sandboxes.traces(server), "the dead worker's sandboxes have gone", WHOLE_WITHIN_S)
    wait_until_whole(server, sandboxes, "desk")


@pytest.mark.parametrize("sandboxes", ["docker"], indirect=True)
def test_containers_of_images_of_users_are_removed_at_the_next_start(
    server: Server, sandboxes: DockerSandboxes
) -> None:
    shop = {
        "appId": "shop",
        "public": True,
        "sandboxPools": {"pools": [{"poolName": "node", "dockerImage": node_image(sandboxes.engine_url)}]},
        "initialComponentRegistry": {
            "components": [
                {
                    "componentId": "price",
                    "handlerType": "JIT",
                    "targetPoolName": "node",
                    "taskDetails": {"script": "handlers/price.js", "function": "price"},
                    "routeMatcher": {"pathPattern": "/price"},
                }
            ]
        },
    }
    files = {"handlers/price.js": "exports.price = ({ pieces }) => ({ cents: 350 * pieces });"}
    server.administer("POST", "/apps", {"definition": shop, "files": files})

    def price() -> object:
        return server.http.post("/apps/shop/price", json={"pieces": 2}).json()

    assert price() == {"cents": 700}
    before = sandboxes.traces(server)
    kill_everything(server)
    server.start()
    wait_until(lambda: not before & sandboxes.traces(server), "nothing of the dead server is left", WHOLE_WITHIN_S)
    wait_until(lambda: price() == {"cents": 700}, "a new container answers", WHOLE_WITHIN_S)
