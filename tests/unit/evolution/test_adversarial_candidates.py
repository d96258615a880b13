"""A malicious coder against the whole state machine: every candidate ends as `adversaries` says, and is recorded."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.unit.evolution.adversaries import (
    BEHAVES_UNTIL_LATER,
    BEHAVES_UNTIL_USERS_COME,
    BY_RUNNING,
    BY_TEXT,
    LIVE,
    NO_TESTS_OF_IT,
    REACHES_FOR_A_TOOL_ONCE_IT_SERVES,
    Adversary,
    knows_by_heart,
)
from tests.unit.evolution.world import APP, CONFIG, GOOD, World, coder_answer, component, lines
from tests.walls import need_walls
from uhlp.clock import FakeClock
from uhlp.errors import StateConflict
from uhlp.evolution.rollouts import InTraffic
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.sandbox.drivers.process import ProcessDriver

ONE_DRAFT = CONFIG.with_overrides({"verify": {"repair_rounds": 0, "concurrency": 4}, "noise": {"aa_samples": 1}})
ALONE = {"timeoutMs": 8000}


class Town:
    """One server with a component for every adversary, so that each attacks what the others live in."""

    def __init__(self, world: World, components: list[str]) -> None:
        self.world = world
        self._free = iter(components)

    async def meets(self, code: str, tests: str = NO_TESTS_OF_IT, *, train: int = 12, held_out: int = 60) -> str:
        """The candidate that comes of this code, for a component of its own."""
        place = next(self._free)
        world = self.world
        await world.record(lines(train, split="train") + lines(held_out, split="held_out"), place)
        world.model.coder.clear()
        world.model.coder.append(coder_answer(code, tests))
        return await world.optimize(place)


def folder_for_sandboxes() -> Path:
    """Open, because sandboxes run under other users; its name is short, because a socket's path may not be long."""
    folder = Path(tempfile.mkdtemp(prefix="uhlp-"))
    folder.chmod(0o755)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town() -> AsyncIterator[Town]:
    """Behind the real process driver, with its walls."""
    need_walls()
    folder = folder_for_sandboxes()
    world = World(folder, FakeClock(), ONE_DRAFT)
    world.make_driver = lambda: ProcessDriver(data_dir=folder, allow_unisolated=False, production=True)
    await world.open()
    components = [f"victim{number}" for number in range(len(BY_RUNNING) + 12)]
    await world.register(*(component(one, **ALONE) for one in components))
    yield Town(world, components)
    await world.check()
    await world.close()
    shutil.rmtree(folder, ignore_errors=True)


async def holds(world: World, candidate_id: str, adversary: Adversary) -> None:
    """It ended as the table says, the ledger says why, and no code of it serves."""
    candidate = world.book.candidate(candidate_id)
    seen = (str(candidate.state), candidate.cause, candidate.reason)
    if adversary.ends == LIVE:
        assert candidate.state in ("shadow", "canary"), seen
        return
    assert seen[:2] == (adversary.ends, adversary.cause), seen
    assert adversary.says in candidate.reason, seen
    last = (await world.store.entries(candidate_id=candidate_id))[-1].entry
    assert (last.to_state, last.reason, last.actor) == (adversary.ends, candidate.reason, "governor")
    assert world.rollouts.in_traffic(APP, candidate.component_id) == InTraffic()
    if adversary.ends == "quarantined":
        with pytest.raises(StateConflict):
            await world.optimize(candidate.component_id)


async def serving(town: Town, code: str) -> str:
    """A candidate of this code, in full service before its time."""
    world = town.world
    candidate_id = await town.meets(code)
    for one in world.book.candidates(APP, state="canary"):
        if one.id != candidate_id:  # an application has one canary at a time
            await world.oversight.act(one.id, "rollback", actor="ann", reason="the next one, please")
    world.clock.advance(3_601)  # three rollbacks within an hour freeze the application
    await world.governor.evaluate_candidate(candidate_id)
    await world.oversight.act(candidate_id, "promote-full", actor="ann", reason="it looks so good")
    return candidate_id


async def ask(world: World, candidate_id: str, text: str, user: dict[str, str] | None) -> RoutedAnswer:
    """One request of this user to the candidate's component."""
    app = world.registry.snapshot(APP)
    place = app.components[world.book.candidate(candidate_id).component_id]
    request = RoutedRequest(app=app, component=place, input={"text": text}, trace_id=uuid4().hex, user_info=user)
    answer = await world.router.handle(request)
    await world.observe()
    return answer


@pytest.mark.parametrize("adversary", BY_TEXT, ids=lambda one: one.name)
async def test_its_text_gives_it_away_before_anything_runs(world: World, adversary: Adversary) -> None:
    await world.record(lines(30, split="train"))
    world.model.coder.extend([coder_answer(adversary.code, adversary.tests)] * 5)
    candidate_id = await world.optimize()
    await holds(world, candidate_id, adversary)
    assert not [kind for kind, _ in world.runner.executed if kind in ("JIT", "TESTS")]


async def test_tampering_in_one_draft_is_no_slip_that_could_be_repaired(world: World) -> None:
    await world.record(lines(30, split="train"))
    world.model.coder.extend([coder_answer(BY_TEXT[0].code), coder_answer(GOOD)])
    candidate = world.book.candidate(await world.optimize())
    assert (candidate.state, len(candidate.drafts)) == ("quarantined", 1)
    code, _, _ = await world.promotion.code_of(candidate)
    assert code == BY_TEXT[0].code, "a person can look at it"


async def test_a_person_clears_a_quarantine_and_nobody_learns_from_that_code(world: World) -> None:
    await world.record(lines(30, split="train"))
    world.model.coder.extend([coder_answer(BY_TEXT[0].code), coder_answer(GOOD)])
    candidate_id = await world.optimize()
    await world.oversight.act(candidate_id, "clear-quarantine", actor="ann", reason="a false alarm")
    following = await world.optimize()
    assert world.state_of(following) == "shadow"
    assert "_getframe" not in world.model.specifications[-1]


class TestBehindWalls:
    pytestmark = pytest.mark.asyncio(loop_scope="module")

    @pytest.mark.parametrize("adversary", BY_RUNNING, ids=lambda one: one.name)
    async def test_it_runs_and_is_refused_or_contained(self, town: Town, adversary: Adversary) -> None:
        world = town.world
        code = adversary.code.replace("@DATA@", str(world.folder))
        commits = len(await world.state.history(APP))
        candidate_id = await town.meets(code, adversary.tests)
        await holds(world, candidate_id, replace(adversary, code=code))
        assert len(await world.state.history(APP)) == commits, "nobody writes to the repository"
        assert "escaped" not in str(world.book.candidate(candidate_id).mismatches)

    async def test_who_knows_train_by_heart_covers_nothing_that_was_held_out(self, town: Town) -> None:
        code = knows_by_heart(lines(12, split="train"), otherwise="raise Deoptimize('unknown')")
        candidate = town.world.book.candidate(await town.meets(code))
        assert (candidate.state, candidate.cause) == ("rejected", "coverage")
        assert "of TRAIN it answers 100%: it knows its samples by heart" in candidate.reason

    async def test_who_knows_train_by_heart_and_guesses_is_wrong_where_it_was_held_out(self, town: Town) -> None:
        code = knows_by_heart(lines(12, split="train"), otherwise="found = ['1', 'apples']")
        candidate = town.world.book.candidate(await town.meets(code))
        assert (candidate.state, candidate.cause) == ("rejected", "held_out_replay")
        assert candidate.figures.seen < 60, "it ends when the evidence is clear"

    @pytest.mark.parametrize(
        ("code", "user", "start"),
        [(BEHAVES_UNTIL_USERS_COME, {"userId": "u1"}, 20_000), (BEHAVES_UNTIL_LATER, None, 50_000)],
        ids=["until users come", "until later"],
    )
    async def test_who_behaves_until_it_serves_is_taken_out_by_audits(
        self, town: Town, code: str, user: dict[str, str] | None, start: int
    ) -> None:
        world = town.world
        candidate_id = await serving(town, code)
        wrong = 0
        for text in lines(300, start=start):
            if world.state_of(candidate_id) != "promoted":
                break
            wrong += (await ask(world, candidate_id, text, user)).result.data["quantity"] == 0
        candidate = world.book.candidate(candidate_id)
        assert (candidate.state, candidate.cause) == ("rolled_back", "audit"), candidate.reason
        assert 0 < wrong < 300
        answer = await ask(world, candidate_id, lines(1, start=start)[0], user)
        assert (answer.handler, answer.result.data["quantity"]) == ("llm", start)

    async def test_who_reaches_for_a_tool_once_it_serves_is_quarantined_at_the_first_call(self, town: Town) -> None:
        world = town.world
        candidate_id = await serving(town, REACHES_FOR_A_TOOL_ONCE_IT_SERVES)
        first = await ask(world, candidate_id, "7 plums", {"userId": "u1"})
        assert first.result.data == {"quantity": 7, "product": "plums"}, "the call itself was refused and harmed nobody"
        candidate = world.book.candidate(candidate_id)
        assert (candidate.state, candidate.cause) == ("quarantined", "tampering")
        assert "it called 'core.llm.generate', which its component may not use" in candidate.reason
        assert (await ask(world, candidate_id, "7 plums", None)).handler == "llm"

    async def test_and_who_is_honest_serves_beside_them_all(self, town: Town) -> None:
        world = town.world
        candidate_id = await town.meets(GOOD)
        assert world.state_of(candidate_id) in ("shadow", "canary")
