"""Pools at their maximum: who waits, who is refused, and in which order they are served."""

from collections.abc import Iterator

import pytest

from tests.chaos.load import JIT, LLM, Load, Target, assert_none_lost
from tests.chaos.recovery import wait_until_whole
from tests.chaos.sandboxes import Sandboxes
from tests.chaos.serving import Register, registering, serving
from tests.chaos.storm import ANSWERS, slow, storm
from tests.e2e.model import Model
from tests.e2e.server import Server, wait_until
from tests.e2e.traffic import InFlight

QUEUE = 4
ONE = {"maxInstances": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Model, sandboxes: Sandboxes) -> Iterator[Server]:
    """One with short queues, for all tests of this file."""
    with serving(tmp_path_factory.mktemp("chaos"), model, sandboxes, UHLP_SANDBOX__MAX_QUEUE=str(QUEUE)) as server:
        yield server


@pytest.fixture
def register(server: Server) -> Iterator[Register]:
    with registering(server) as register:
        yield register


def test_more_callers_than_the_queue_holds_are_told_to_come_again(
    server: Server, register: Register, sandboxes: Sandboxes
) -> None:
    register(storm("desk", pool=ONE))
    register(storm("calm"))
    wait_until_whole(server, sandboxes, "desk", "calm")
    alone = {"alone": Target("/apps/desk/alone", slow(0.03))}
    calm = {"calm": Target("/apps/calm/sort", ANSWERS)}  # no more callers than its queue holds
    with Load(server, alone, callers=QUEUE + 8) as load, Load(server, calm, callers=QUEUE) as others:
        load.hear(80)
        others.hear(20)
    assert_none_lost(load, {"alone": (JIT, "NO_SANDBOX_AVAILABLE")})
    assert_none_lost(others, {"calm": (JIT,)})
    assert load.outcomes("alone").keys() == {JIT, "NO_SANDBOX_AVAILABLE"}
    wait_until_whole(server, sandboxes, "desk", "calm")


def test_where_a_model_stands_behind_the_handler_it_answers_whom_the_pool_cannot(
    server: Server, register: Register, sandboxes: Sandboxes
) -> None:
    register(storm("desk", pool=ONE))
    wait_until_whole(server, sandboxes, "desk")
    with Load(server, {"sort": Target("/apps/desk/sort", slow(0.03))}, callers=QUEUE + 4) as load:
        load.hear(80)
    assert_none_lost(load, {"sort": (JIT, LLM)})
    assert load.outcomes("sort").keys() == {JIT, LLM}
    wait_until_whole(server, sandboxes, "desk")


def test_whoever_came_first_is_served_first(server: Server, register: Register, sandboxes: Sandboxes) -> None:
    register(storm("desk", pool=ONE))
    wait_until_whole(server, sandboxes, "desk")
    requests = InFlight(server)
    first = requests.post("/apps/desk/alone", slow(1.5))
    wait_until(lambda: pool(server)["busy"] == 1, "the only worker is busy")
    waiting = []
    for number in range(1, QUEUE + 1):
        waiting.append(requests.post("/apps/desk/alone", {"text": "when?"}))
        wait_until(lambda number=number: pool(server)["waiting"] == number, f"{number} wait")
    refused = requests.post("/apps/desk/alone", {"text": "when?"}).result(30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "NO_SANDBOX_AVAILABLE")
    assert refused.headers["Retry-After"]
    assert first.result(30).status_code == 200
    began = [each.result(30).json()["began"] for each in waiting]
    assert began == sorted(began)


def pool(server: Server) -> dict[str, int]:
    """The only one in service."""
    pools = server.administer("GET", "/sandboxes")["pools"]
    (found,) = [each for each in pools if each["group"] == "serving"]
    return dict(found)
