"""Whatever happens, in whatever order: the invariants of evolution hold (design 03 §3), read from ledger and table."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.evolution.ledger_invariants import LedgerInvariants
from tests.unit.evolution.world import APP, CONFIG, FORGETS_PEARS, GOOD, World, coder_answer, component, parse
from uhlp.clock import FakeClock
from uhlp.errors import NotFound, StateConflict, UhlpError
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.statistics import Verdict

S = CandidateState
T = TypeVar("T")
PROVE, CHECK = "prove", "check"
COMPONENTS = (PROVE, CHECK)
CODE = {
    "good": GOOD,
    "forgets pears": FORGETS_PEARS,
    "fails on nuts": GOOD.replace(
        "    return {", '    if found[2] == "nuts":\n        raise ValueError("nuts")\n    return {'
    ),
    "leaves all to the model": GOOD.replace("    if found is None:", "    if True:"),
    "against the policy": GOOD.replace("import re\n", "import re\nimport socket\n"),
}
TEXTS = {"right": "{} apples", "pears": "{} pears", "nuts": "{} nuts", "left": "what costs {}"}
WIDE = CONFIG.model_copy(update={"limits": CONFIG.limits.model_copy(update={"usd_per_day": 1000.0})})


def share_of(one: Candidate) -> float:
    """Of the requests, that a candidate in this state answers."""
    if one.state is S.CANARY:
        return WIDE.canary.weights[one.canary_step or 0]
    return 1.0 if one.state is S.PROMOTED else 0.0


class Crash(BaseException):
    """The power fails."""


class CrashingWorld(World):
    """The power may fail while a decision is written (nothing of it is kept), or right after, before the switch."""

    fails: str | None = None

    async def open(self) -> None:
        self.fails = None
        self.fence = self._before_commit
        await super().open()
        self.store.on_append(lambda sealed: self._after_commit())

    def _before_commit(self) -> None:
        if self.fails == "before":
            raise Crash

    def _after_commit(self) -> None:
        if self.fails == "after":
            raise Crash


class Evolution(RuleBasedStateMachine):
    """Two components of one application: one proves first, one serves and is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.world = CrashingWorld(self.folder, FakeClock(), WIDE)
        self.ledger, self.read = LedgerInvariants(WIDE), 0
        self.number = self.drafts = self.prompts = 0
        self.sent: list[str] = []
        self.verdicts: dict[str, Verdict] = {}

    def teardown(self) -> None:
        try:
            self.runner.run(self.world.close())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    # -- helpers

    def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do `work`; where the power fails in between, start again and go on. What may be refused may be refused."""
        try:
            with suppress(StateConflict, NotFound):
                return self.runner.run(work)
        except Crash:
            self.restart_after_crash()
        return None

    def restart_after_crash(self) -> None:
        self.runner.run(self.world.restart(crash=True))
        self.runner.run(self.turn())
        self.verdicts.clear()  # clean comparisons may be lost, and a verdict that was not written down with them

    async def turn(self) -> None:
        """What the loops do."""
        await self.world.daemon.run_cycle()
        for component_id in COMPONENTS:
            candidate = self.world.book.open_candidate(APP, component_id)
            if candidate is not None:
                await self.world.compiler.compile(candidate.id)

    def text(self, kind: str) -> str:
        self.number += 1
        return TEXTS[kind].format(self.number)

    def spec_hash(self, component_id: str) -> str:
        return self.world.spec_hash(component_id)

    def serving(self, component_id: str) -> list[Candidate]:
        """The candidates that may answer: in a serving state, and made for what the component means now."""
        return [
            one
            for one in self.world.book.candidates(APP, component_id)
            if one.is_serving and one.spec_hash == self.spec_hash(component_id)
        ]

    async def send(self, component_id: str, text: str) -> None:
        labels = {f"jit@{one.id if one.version is None else f'v{one.version}'}" for one in self.serving(component_id)}
        try:
            answer = await self.world.send(text, component_id, observe=False)
        except UhlpError:
            assert self.world.model.is_down, "a request failed although the model could have answered"
        else:
            assert answer.handler == "llm" or answer.implementation in labels
        self.sent.append(text)
        await self.world.observe()

    # -- rules: how it starts

    @initialize(start=st.sampled_from(["nothing", "shadow", "canary", "promoted"]))
    def begin(self, start: str) -> None:
        self.runner.run(self.world.open())
        components = (component(PROVE), component(CHECK, optimization={"trust": "serve-and-check"}))
        self.runner.run(self.world.register(*components))
        self.runner.run(self.world.record([self.text("right") for _ in range(40)], PROVE))
        self.runner.run(self.world.record([self.text("right") for _ in range(40)], CHECK))
        if start != "nothing":
            self.optimize(PROVE, "good", False)
            self.optimize(CHECK, "forgets pears", False)
        if start in ("canary", "promoted"):
            self.requests(PROVE, "right", 45)
        if start == "promoted":
            for _ in range(12):
                self.a_good_hour(PROVE)

    # -- rules: traffic

    @rule(component_id=st.sampled_from(COMPONENTS), kind=st.sampled_from(list(TEXTS)), count=st.integers(1, 45))
    def requests(self, component_id: str, kind: str, count: int) -> None:
        for _ in range(count):
            self.run(self.send(component_id, self.text(kind)))

    @rule(component_id=st.sampled_from(COMPONENTS))
    def a_good_hour(self, component_id: str) -> None:
        """Enough right answers and time for a step."""
        self.requests(component_id, "right", 45)
        self.time_passes(61)
        self.a_cycle()
        self.requests(component_id, "right", 1)

    @precondition(lambda self: self.sent)
    @rule(component_id=st.sampled_from(COMPONENTS), count=st.integers(1, 10), data=st.data())
    def the_same_again(self, component_id: str, count: int, data: st.DataObject) -> None:
        text = data.draw(st.sampled_from(self.sent[-50:]))
        for _ in range(count):
            self.run(self.send(component_id, text))

    @rule(is_down=st.booleans())
    def model_goes_or_comes_back(self, is_down: bool) -> None:
        self.world.model.is_down = is_down

    @rule(product=st.sampled_from([None, "apples", "pears"]))
    def model_changes_its_mind(self, product: str | None) -> None:
        def answer(inputs: dict[str, Any]) -> Any:
            value = parse(inputs)
            return {**value, "quantity": value["quantity"] + 1} if value["product"] == product else value

        self.world.model.answer = answer

    @precondition(lambda self: not self.world.model.is_down)
    @rule(component_id=st.sampled_from(COMPONENTS))
    def the_world_changes(self, component_id: str) -> None:
        """I5: whoever is in full service and wrong every time is out soon, whatever is paused."""
        in_service = [one.id for one in self.serving(component_id) if one.state is S.PROMOTED]
        will_fail = self.world.fails
        self.world.model.answer = lambda inputs: {"quantity": -1, "product": "changed"}
        self.requests(component_id, "right", 60)
        self.world.model.answer = parse
        if will_fail is None:
            assert [one for one in in_service if self.world.state_of(one) == S.PROMOTED] == []

    @rule(kind=st.sampled_from(list(TEXTS)), fault=st.sampled_from(["die", None]))
    def sandboxes_fail(self, kind: str, fault: str | None) -> None:
        upcoming = {TEXTS[kind].format(self.number + place): fault for place in range(1, 20)}
        self.world.runner.faults = {text: what for text, what in upcoming.items() if what is not None}

    @rule(seconds=st.sampled_from([1.0, 61.0, 700.0, 3700.0, 90_000.0, 8 * 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule()
    def a_cycle(self) -> None:
        self.run(self.turn())

    # -- rules: people

    @rule(component_id=st.sampled_from(COMPONENTS), code=st.sampled_from(list(CODE)), is_same=st.booleans())
    def optimize(self, component_id: str, code: str, is_same: bool) -> None:
        self.drafts += not is_same
        self.world.model.coder.clear()
        self.world.model.coder.extend([coder_answer(f"# draft {self.drafts}\n{CODE[code]}")] * 4)
        self.run(self.world.optimize(component_id))

    @rule(component_id=st.sampled_from(COMPONENTS))
    def recommend(self, component_id: str) -> None:
        discover = self.world.daemon.discover(
            APP, component_id, actor="oracle", reason="a rule", proposer="coder", needs_approval=True
        )
        self.run(discover)

    @precondition(lambda self: self.world.book.candidates())
    @rule(
        action=st.sampled_from(
            ["approve", "reject", "pause", "resume", "rollback", "promote-full", "quarantine", "clear-quarantine"]
        ),
        data=st.data(),
    )
    def a_person_acts(self, action: str, data: st.DataObject) -> None:
        known = self.world.book.candidates()
        candidate = known[data.draw(st.integers(0, len(known) - 1))]
        self.run(self.world.oversight.act(candidate.id, action, actor="ann", reason="I say so"))

    @rule(scope=st.sampled_from([(None, None), (APP, None), (APP, PROVE)]), is_pause=st.booleans())
    def evolution_is_paused(self, scope: tuple[str | None, str | None], is_pause: bool) -> None:
        act = self.world.oversight.pause if is_pause else self.world.oversight.resume
        self.run(act(actor="ann", reason="I say so", app_id=scope[0], component_id=scope[1]))

    @rule(component_id=st.sampled_from(COMPONENTS), is_meant=st.sampled_from([False, False, False, True]))
    def specification_changes(self, component_id: str, is_meant: bool) -> None:
        if not is_meant:  # it voids everything; were it as frequent as the rest, nothing would come far
            return
        self.prompts += 1
        changed = {f"prompts/{component_id}.yaml": f'template: "Way {self.prompts}: {{{{ text }}}}"\n'.encode()}
        self.run(self.world.registry.apply_files(APP, changed, message="Say it otherwise"))

    @rule(component_id=st.sampled_from(COMPONENTS), is_right=st.booleans())
    def a_person_says_what_is_right(self, component_id: str, is_right: bool) -> None:
        self.run(self._adjudicate(component_id, is_right=is_right))

    async def _adjudicate(self, component_id: str, *, is_right: bool) -> None:
        samples = await self.world.samples.samples(APP, component_id, limit=1)
        if samples:
            expected = parse(samples[0].input) if is_right else {"quantity": -1, "product": "none"}
            await self.world.oversight.adjudicate_sample(
                APP, samples[0].id, expected=expected, actor="ann", reason="I know"
            )

    # -- rules: the machine

    @rule(is_crash=st.booleans())
    def restart(self, is_crash: bool) -> None:
        if is_crash:
            self.restart_after_crash()
        else:
            self.runner.run(self.world.restart(crash=False))
            self.run(self.turn())

    @rule(when=st.sampled_from(["before", "after"]))
    def power_will_fail(self, when: str) -> None:
        self.world.fails = when

    # -- what must hold

    @invariant()
    def state_is_the_fold_of_the_ledger(self) -> None:
        """I2, I4, I9, I10 and the numbers: from the ledger."""
        self.runner.run(self.world.check())
        sealed = self.runner.run(self.world.store.entries(after=self.read, limit=100_000))
        self.read += len(sealed)
        self.ledger.read(one.entry for one in sealed)
        assert self.ledger.broken == []
        for one in self.world.book.candidates():
            assert one.decided() == self.ledger.candidate(one.id).decided()

    @invariant()
    def table_agrees_with_states(self) -> None:
        """I2, I3: who is in traffic, and with which share, is what the states say; what is over never serves."""
        for component_id in COMPONENTS:
            known = self.world.book.candidates(APP, component_id)
            live = self.world.rollouts.in_traffic(APP, component_id)
            for handler, states in ((live.baseline, {S.PROMOTED}), (live.candidate, {S.SHADOW, S.CANARY})):
                expected = [one for one in known if one.state in states]
                assert ([handler.candidate_id] if handler else []) == [one.id for one in expected]
                if handler is not None:
                    assert (handler.weight, handler.spec_hash) == (share_of(expected[0]), expected[0].spec_hash)
                    assert handler.implementation.artifact.sha256 == expected[0].code_sha
            for one in known:
                if one.code_sha is not None and not (one.is_open or one.is_serving):
                    assert self.world.rollouts.is_barred(APP, one.code_sha)

    @invariant()
    def no_alarm_and_no_verdict_against_it_goes_unheard(self) -> None:
        """I5, I9: also while paused, held or waiting for approval."""
        for one in self.world.book.candidates():
            live = self.world.governor.evidence_of(one.id)
            if live is None or one.spec_hash != self.spec_hash(one.component_id):
                continue
            assert live.account.verdict is not Verdict.REJECT
            if one.is_serving:
                assert (live.audits.alarm, live.crashes.alarm) == (None, None)
            known = self.verdicts.get(one.id, Verdict.HOLD)
            assert known in (Verdict.HOLD, live.account.verdict)
            self.verdicts[one.id] = live.account.verdict


EvolutionTest = Evolution.TestCase
EvolutionTest.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
EvolutionTest.__name__ = "test_no_order_of_events_breaks_an_invariant"


@pytest.mark.long
class TestAtLength(Evolution.TestCase):
    """The same, for some minutes."""

    settings = settings(
        max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
    )
