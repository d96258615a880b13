"""Sandboxes that are killed while they work, and handlers that hang or eat memory in the middle of others' traffic."""

import random
from collections.abc import Iterator

import pytest

from tests.chaos.load import JIT, LLM, Load, Target, assert_none_lost
from tests.chaos.recovery import WHOLE_WITHIN_S, wait_until_whole
from tests.chaos.sandboxes import Sandboxes, ids
from tests.chaos.serving import Register, registering, serving
from tests.chaos.storm import ANSWERS, EATS, HANGS, slow, storm
from tests.e2e.model import Model
from tests.e2e.server import Server, kill, wait_until

KILLS = 8
KILLED = ("SANDBOX_DIED", "SANDBOX_OUT_OF_MEMORY")
"""Whoever is killed from outside cannot be told from one that the kernel killed for want of memory."""

SMALL = {"maxInstances": 6, "resourceLimits": {"memoryLimit": "160M"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Model, sandboxes: Sandboxes) -> Iterator[Server]:
    """One for all tests of this file."""
    with serving(tmp_path_factory.mktemp("chaos"), model, sandboxes) as server:
        yield server


@pytest.fixture
def register(server: Server) -> Iterator[Register]:
    with registering(server) as register:
        yield register


@pytest.mark.parametrize("victim", ["workers", "supervisors"])
def test_whoever_is_killed_the_requests_are_answered_and_neighbours_notice_nothing(
    server: Server, register: Register, sandboxes: Sandboxes, victim: str
) -> None:
    for app_id in ("desk", "calm"):
        register(storm(app_id))
    wait_until_whole(server, sandboxes, "desk", "calm")
    targets = {
        "sort": Target("/apps/desk/sort", slow(0.02)),
        "ask": Target("/apps/desk/ask", ANSWERS),
        "calm": Target("/apps/calm/sort", ANSWERS),
    }

    def victims() -> list[int]:
        return [pid for each in ids(server, "desk") for pid in getattr(sandboxes, victim)(each)]

    chance = random.Random(7)
    with Load(server, targets, callers=6) as load:
        for _ in range(KILLS):
            load.hear(20)
            kill(chance.choice(wait_until(victims, f"there are {victim} to kill", WHOLE_WITHIN_S)))
    told = (*KILLED, "NO_SANDBOX_AVAILABLE")
    assert_none_lost(load, {"sort": (JIT, LLM, *told), "ask": (LLM, *told), "calm": (JIT,)})
    assert load.outcomes("sort")[JIT]
    wait_until_whole(server, sandboxes, "desk", "calm")


def test_hung_and_greedy_handlers_cost_nobody_an_answer(
    server: Server, register: Register, sandboxes: Sandboxes
) -> None:
    register(storm("desk", pool=SMALL, timeout_ms=4_000))
    register(storm("calm"))
    wait_until_whole(server, sandboxes, "desk", "calm")
    targets = {
        "hangs": Target("/apps/desk/sort", HANGS),
        "answers": Target("/apps/desk/other", ANSWERS),
        "eats": Target("/apps/desk/sort", EATS),
        "model": Target("/apps/desk/ask", ANSWERS),
        "hangs alone": Target("/apps/desk/alone", HANGS),
        "eats alone": Target("/apps/desk/alone", EATS),
        "calm": Target("/apps/calm/sort", ANSWERS),
    }
    with Load(server, targets, callers=len(targets)) as load:
        load.hear(8 * len(targets))
    told = ("CRASH_LOOP", "NO_SANDBOX_AVAILABLE")
    assert_none_lost(
        load,
        {
            "hangs": (LLM,),
            "answers": (JIT, LLM),
            "eats": (LLM,),
            "model": (LLM,),
            "hangs alone": ("DEADLINE_EXCEEDED", *told),
            "eats alone": (*KILLED, "DEADLINE_EXCEEDED", *told),  # eating takes time where others compute
            "calm": (JIT,),
        },
    )
    assert load.outcomes("hangs alone")["DEADLINE_EXCEEDED"]
    wait_until_whole(server, sandboxes, "desk", "calm")
