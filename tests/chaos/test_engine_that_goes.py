"""A Docker engine that goes away under load, and comes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.load import JIT, LLM, Load, Target, assert_none_lost, outcome
from tests.chaos.recovery import WHOLE_WITHIN_S, wait_until_whole
from tests.chaos.sandboxes import DockerSandboxes, spares
from tests.chaos.serving import serving
from tests.chaos.storm import ANSWERS, slow, storm
from tests.docker_engine import PrivateEngine
from tests.e2e.model import Model
from tests.e2e.server import Server, wait_until

REFUSED = ("NO_SANDBOX_AVAILABLE", "ENGINE_UNAVAILABLE")


@pytest.fixture
def engine(second_engine: PrivateEngine) -> PrivateEngine:
    return second_engine


@pytest.fixture
def sandboxes(engine: PrivateEngine) -> DockerSandboxes:
    return DockerSandboxes(engine.url)


@pytest.fixture
def lasting_server(engine: PrivateEngine, sandboxes: DockerSandboxes, tmp_path: Path, model: Model) -> Iterator[Server]:
    """Its containers outlive the engine."""
    engine.stop()
    engine.start(live_restore=True)
    with serving(tmp_path, model, sandboxes) as server:
        yield server


@pytest.fixture
def fleeting_server(
    engine: PrivateEngine, sandboxes: DockerSandboxes, tmp_path: Path, model: Model
) -> Iterator[Server]:
    """Its containers end with the engine."""
    engine.stop()
    engine.start()
    with serving(tmp_path, model, sandboxes) as server:
        yield server


def targets(app_id: str) -> dict[str, Target]:
    return {
        "sort": Target(f"/apps/{app_id}/sort", slow(0.005)),
        "other": Target(f"/apps/{app_id}/other", ANSWERS),
        "ask": Target(f"/apps/{app_id}/ask", ANSWERS),
    }


def refusal_or_answer(server: Server, app_id: str) -> str:
    return outcome(server.http.post(f"/apps/{app_id}/sort", json=ANSWERS))


def test_warm_sandboxes_serve_without_one_error_while_the_engine_is_down(
    engine: PrivateEngine, lasting_server: Server, sandboxes: DockerSandboxes
) -> None:
    server = lasting_server
    server.administer("POST", "/apps", storm("desk"))
    wait_until_whole(server, sandboxes, "desk")
    wait_until(lambda: spares(server) == 1, "a spare stands ready")
    with Load(server, targets("desk"), callers=4) as load:
        load.hear(60)
        engine.stop()
        load.hear(60)
        server.administer("POST", "/apps", storm("next"))
        assert refusal_or_answer(server, "next") == JIT, "the spare is claimed without the engine"
        server.administer("POST", "/apps", storm("late"))
        assert refusal_or_answer(server, "late") in REFUSED
        wait_until(lambda: not server.answers("/readyz"), "the server says that it is not ready", WHOLE_WITHIN_S)
        assert "does not answer" in server.http.get("/readyz").json()["reasons"]["sandboxes"]
        load.hear(60)
        engine.start(live_restore=True)
        wait_until(lambda: server.answers("/readyz"), "the server is ready again", WHOLE_WITHIN_S)
        load.hear(60)
    assert_none_lost(load, {"sort": (JIT,), "other": (JIT,), "ask": (LLM,)})
    wait_until_whole(server, sandboxes, "desk", "next", "late")


def test_where_sandboxes_die_with_the_engine_callers_are_told_so_until_it_is_back(
    engine: PrivateEngine, fleeting_server: Server, sandboxes: DockerSandboxes
) -> None:
    server = fleeting_server
    server.administer("POST", "/apps", storm("desk"))
    wait_until_whole(server, sandboxes, "desk")
    with Load(server, targets("desk"), callers=4) as load:
        load.hear(60)
        engine.stop()
        wait_until(lambda: refusal_or_answer(server, "desk") in REFUSED, "callers are refused", WHOLE_WITHIN_S)
        load.hear(60)
        assert {refusal_or_answer(server, "desk") for _ in range(8)} <= set(REFUSED)
        assert not server.answers("/readyz")
        engine.start()
        wait_until(lambda: refusal_or_answer(server, "desk") == JIT, "a handler answers again", WHOLE_WITHIN_S)
    clear = (JIT, LLM, "SANDBOX_DIED", "SANDBOX_OUT_OF_MEMORY", *REFUSED)
    assert_none_lost(load, {"sort": clear, "other": clear, "ask": clear})
    wait_until_whole(server, sandboxes, "desk")


@pytest.mark.long
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_engine_that_goes_again_and_again_costs_nobody_an_answer(
    engine: PrivateEngine, lasting_server: Server, sandboxes: DockerSandboxes, end: str
) -> None:
    server = lasting_server
    server.administer("POST", "/apps", storm("desk"))
    wait_until_whole(server, sandboxes, "desk")
    with Load(server, targets("desk"), callers=4) as load:
        for _ in range(5):
            load.hear(60)
            getattr(engine, end)()
            load.hear(60)
            engine.start(live_restore=True)
        load.hear(60)
    assert_none_lost(load, {"sort": (JIT,), "other": (JIT,), "ask": (LLM,)})
    wait_until_whole(server, sandboxes, "desk")
