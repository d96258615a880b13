"""A machine that does anything to shorter prompts in any order, and what must hold all the while.

I1, I11  requests are answered while the model answers, whatever the shorter prompt makes of them (`send`)
I2       state is the fold of the ledger, and a crash in between loses nothing (`restart`, `state_is_the_fold…`)
I3       what is out is out at once: in the table, and after the next cycle in the repository
I4, I9   nothing goes on without proof; verdicts stay (`nothing_goes_on_without_proof`)
I5, I8   alarms are heard while it is paused; what could not be measured is no score (`send` with the model down)
I10      every decision says why (`World.check`)
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.evolution.prompt_world import LONG, SHORT_RULES, SHORT_TASK, PromptWorld
from tests.unit.evolution.world import APP, PARSE, lines, parse
from uhlp.clock import FakeClock
from uhlp.errors import CandidateNotFound, StateConflict
from uhlp.evolution.candidate import CandidateState
from uhlp.evolution.statistics import Verdict

S = CandidateState
T = TypeVar("T")
MARKS = ("with quantity and", "Read this order line.")
"""What only shorter prompts say."""


class PromptMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.world = PromptWorld(self.folder, FakeClock())
        self.manner = "good"
        self.number = 100
        self.verdicts: dict[str, Verdict] = {}

    def teardown(self) -> None:
        try:
            self.run(self.world.check())
            self.run(self.world.close())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What may be refused may be refused."""
        try:
            return self.runner.run(work)
        except (StateConflict, CandidateNotFound):
            return None

    def answer(self, prompt: str, inputs: dict[str, Any]) -> Any:
        if not any(mark in prompt for mark in MARKS) or self.manner == "good":
            return parse(inputs)
        return {"nonsense": 1} if self.manner == "broken" else {"quantity": 0, "product": "wrong"}

    @property
    def open_one(self) -> str | None:
        one = self.world.book.current(APP, PARSE)
        return None if one is None else one.id

    @initialize(state=st.sampled_from(["shadow", "canary", "promoted"]))
    def begin(self, state: str) -> None:
        self.runner.run(self.world.open())
        self.runner.run(self.world.register())
        self.world.model.by_prompt = self.answer
        self.runner.run(self._reach(state))

    async def _reach(self, state: str) -> None:
        candidate_id = await self.world.shorten()
        if state != "shadow":
            await self.world.prove(candidate_id)
        if state == "promoted":
            await self.world.pass_canary(candidate_id)
        assert self.world.state_of(candidate_id) == state

    # -- what happens

    @rule(bodies=st.sampled_from([{"rules": SHORT_RULES}, {"task": SHORT_TASK}]))
    def ask_for_one(self, bodies: dict[str, str]) -> None:
        candidate_id = self.run(self.world.compress())
        if candidate_id is not None:
            self.run(self.world.optimizer_works(bodies=bodies))
            self.run(self.world.compiler.compile(candidate_id))

    @rule(manner=st.sampled_from(["good", "good", "good", "worse", "broken"]))
    def shorter_prompts_become(self, manner: str) -> None:
        self.manner = manner

    @rule(noise=st.sampled_from([0.0, 0.0, 0.1]))
    def the_model_is_noisy(self, noise: float) -> None:
        self.world.model.noise = noise

    @rule(count=st.integers(5, 40))
    def send(self, count: int) -> None:
        for text in lines(count, start=self.number):
            answer = self.run(self.world.send(text))
            assert answer is not None
            if self.world.model.noise == 0 and answer.implementation == "prompt@stable" and self.manner == "broken":
                assert answer.result.data["product"]
            assert "nonsense" not in answer.result.data
        self.number += 2 * count

    @rule(count=st.integers(1, 6))
    def send_while_measuring_fails(self, count: int) -> None:
        """Users are answered; then the model is away."""
        before = {one.id: one.evidence.get("n", 0) for one in self.world.book.candidates()}
        for text in lines(count, start=self.number):
            self.run(self.world.send(text, observe=False))
        self.world.model.is_down = True
        self.run(self.world.observe())
        self.world.model.is_down = False
        for one in self.world.book.candidates():
            assert one.evidence.get("n", 0) == before[one.id], "an error of measuring is no score"
        self.number += 2 * count

    @rule(seconds=st.sampled_from([1.0, 61.0, 90.0]))
    def cycle(self, seconds: float) -> None:
        self.world.clock.advance(seconds)
        self.run(self.world.daemon.run_cycle())

    @precondition(lambda self: self.open_one is not None)
    @rule(action=st.sampled_from(["pause", "resume", "reject", "rollback", "promote-full"]))
    def a_person_acts(self, action: str) -> None:
        assert self.open_one is not None
        self.run(self.world.oversight.act(self.open_one, action, actor="ann", reason="because"))

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.run(self.world.restart(crash=crash))

    @precondition(lambda self: self.open_one is not None and self.manner == "good")
    @rule()
    def it_goes_on(self) -> None:
        """Enough traffic and time for the next stage."""
        for _ in range(3):
            self.send(40)
            self.cycle(61.0)

    @precondition(lambda self: self.open_one is None)
    @rule(word=st.sampled_from(["greatest", "utmost"]))
    def the_owner_writes_another_prompt(self, word: str) -> None:
        text = LONG.replace("greatest", word).encode()
        self.run(self.world.registry.apply_files(APP, {f"prompts/{PARSE}.yaml": text}, message="another"))

    # -- what must hold

    @invariant()
    def nothing_goes_on_without_proof(self) -> None:
        for one in self.world.book.candidates():
            live = self.world.governor.evidence_of(one.id)
            if live is None:
                continue
            if one.state in (S.CANARY, S.PROMOTED):
                assert live.account.verdict is Verdict.ACCEPT
            known = self.verdicts.setdefault(one.id, live.account.verdict)
            if known is not Verdict.HOLD:
                assert live.account.verdict is known, "a verdict is sticky"
            self.verdicts[one.id] = live.account.verdict

    @invariant()
    def the_table_agrees_with_the_states(self) -> None:
        if not hasattr(self.world, "rollouts"):
            return
        live = self.world.rollouts.in_traffic(APP, PARSE)
        for one in (live.candidate, live.prompt):
            if one is not None:
                state = self.world.book.candidate(one.candidate_id).state
                assert state in ((S.PROMOTED,) if one.is_promoted else (S.SHADOW, S.CANARY))

    @invariant()
    def the_repository_follows(self) -> None:
        if not hasattr(self.world, "daemon"):
            return
        self.run(self.world.daemon.run_cycle())
        promoted = [one for one in self.world.book.candidates() if one.state is S.PROMOTED]
        kept = self.run(self.world.stable_set())
        if promoted:
            assert kept is not None
            assert promoted[0].id.encode() in kept
            assert self.world.component().prompt_artifact.sha256 == promoted[0].code_sha  # type: ignore[union-attr]
        elif kept is not None:  # what a shorter one had replaced, before that was taken back
            assert any(one.cause == "replaced" and one.id.encode() in kept for one in self.world.book.candidates())


PromptMachine.TestCase.settings = settings(
    max_examples=5,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestPromptMachine = PromptMachine.TestCase
