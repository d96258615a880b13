"""Every fault at once, again and again: what is left afterwards is what was there before."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.load import JIT, LLM, Load, Target, assert_none_lost
from tests.chaos.recovery import WHOLE_WITHIN_S, wait_until_whole
from tests.chaos.sandboxes import Sandboxes, ids
from tests.chaos.serving import serving
from tests.chaos.storm import ANSWERS, EATS, HANGS, slow, storm
from tests.e2e.model import Model
from tests.e2e.server import Server, kill, wait_until

pytestmark = pytest.mark.long

FAULTS = 80
MORE_DESCRIPTORS = 24
"""Workers come and go; a descriptor that each fault left behind would be many more."""

SMALL = {"resourceLimits": {"memoryLimit": "160M"}}
TOLD = ("SANDBOX_DIED", "SANDBOX_OUT_OF_MEMORY", "NO_SANDBOX_AVAILABLE", "DEADLINE_EXCEEDED")


@pytest.fixture
def server(tmp_path: Path, model: Model, sandboxes: Sandboxes) -> Iterator[Server]:
    """One that never tires of code that crashes, so that it goes on crashing."""
    with serving(tmp_path, model, sandboxes, UHLP_SANDBOX__CRASH_LOOP_AFTER="1000000") as server:
        yield server


def test_eighty_faults_lose_no_request_and_leave_nothing_behind(server: Server, sandboxes: Sandboxes) -> None:
    server.administer(
        "POST", "/apps", storm("desk", pool={"resourceLimits": {"memoryLimit": "160M"}}, timeout_ms=8_000)
    )
    server.administer("POST", "/apps", storm("calm"))
    wait_until_whole(server, sandboxes, "desk", "calm")
    targets = {
        "sort": Target("/apps/desk/sort", slow(0.02)),
        "other": Target("/apps/desk/other", ANSWERS),
        "ask": Target("/apps/desk/ask", ANSWERS),
        "hangs": Target("/apps/desk/alone", HANGS),
        "eats": Target("/apps/desk/alone", EATS),
        "calm": Target("/apps/calm/sort", ANSWERS),
    }

    def victims(kind: str) -> list[int]:
        return [pid for each in ids(server, "desk") for pid in getattr(sandboxes, kind)(each)]

    before, chance = open_files(server), random.Random(11)
    with Load(server, targets, callers=8) as load:
        for _ in range(FAULTS):
            load.hear(12)
            kind = chance.choice(["workers", "workers", "workers", "supervisors"])
            kill(
                chance.choice(wait_until(lambda kind=kind: victims(kind), f"there are {kind} to kill", WHOLE_WITHIN_S))
            )
    clear = dict.fromkeys(("sort", "other", "ask", "hangs", "eats"), (JIT, LLM, *TOLD))
    assert_none_lost(load, {**clear, "calm": (JIT,)})
    wait_until_whole(server, sandboxes, "desk", "calm")
    assert open_files(server) <= before + MORE_DESCRIPTORS


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.worker_pid}/fd").iterdir()))
