"""A machine that does anything to evolution in any order, and what must hold all the while.

I1, I11  requests are answered while the model answers, whatever candidates do (`send`)
I2, I3   state, ledger and table agree, what is over is out (`state_is_the_fold…`, `table_agrees…`)
I4, I9, I10  nothing goes on without proof, verdicts stay, decisions say why (`LedgerInvariants`)
I5       alarms are heard whatever holds (`no_alarm…`)
I6       without a model the handler goes on, and somebody is told (`the_provider_is_down…`)
I7       what is held out is shown to no coder, and nothing that was shown is evidence (`evaluator_is_out…`)
I8       errors of measuring are no score, and pause (`send`, `errors_of_measuring…`)
I12      nothing here has effects (`test_effects`)

Without the lease nothing is decided (`without_the_lease_…`); a crash costs no wrong answer (`restart_after_crash`).
"""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.evolution.ledger_invariants import LedgerInvariants
from tests.unit.evolution.world import APP, CONFIG, FORGETS_PEARS, GOOD, LEASE_S, World, coder_answer, component, parse
from uhlp.clock import FakeClock
from uhlp.errors import NotFound, NotLeading, StateConflict, UhlpError
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.leadership import Leadership
from uhlp.evolution.notifications import Alert
from uhlp.evolution.promotion import candidate_ref
from uhlp.evolution.statistics import Verdict
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.traffic.split import input_hash, split_of

S = CandidateState
T = TypeVar("T")
DOWN = str(Alert.ROLLBACK_TARGET_DOWN)
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
    "looks for its evaluator": GOOD.replace("import re\n", "import re\nimport inspect\n").replace(
        "    found = ", "    inspect.currentframe()\n    found = "
    ),
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


class FailingWorld(World):
    """While a decision is written, the power may fail (nothing of it is kept) or the lease may end; right after it, and
    before the switch, the power may fail.
    """

    fails: str | None = None

    async def open(self) -> None:
        self.fails = None
        self.fence = self._before_commit
        await super().open()
        self.store.on_append(lambda sealed: self._after_commit())

    def _before_commit(self) -> int | None:
        if self.fails == "before":
            raise Crash
        if self.fails == "lease":
            self.fails = None
            self.clock.advance(LEASE_S)
        return self.token()

    def token(self) -> int | None:
        return self.leadership.token()

    def _after_commit(self) -> None:
        if self.fails == "after":
            raise Crash


class EvolutionMachine(RuleBasedStateMachine):
    """Two components of one application: one proves first, one serves and is checked. Another server wants the lease.

    `make_world` and `config` are what a mutant passes otherwise; what must hold is of `WIDE`.
    """

    make_world: type[FailingWorld] = FailingWorld
    config: EvolutionConfig = WIDE

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.world = self.make_world(self.folder, FakeClock(), self.config)
        self.leases = self.world.leases = SqliteRuntimeStore(self.folder / "leases.db", clock=self.world.clock)
        self.rival = Leadership(leases=self.leases, holder="rival", ttl_s=LEASE_S, clock=self.world.clock)
        self.ledger, self.read = LedgerInvariants(WIDE), 0
        self.number = self.drafts = self.prompts = 0
        self.sent: list[str] = []
        self.written, self.led = 0, True
        self.adjudicated: set[str] = set()
        self.recorded: list[str] = []
        self.specifications = 0
        self.shown: dict[str, frozenset[str]] = {}
        self.refused_ends: set[str] = set()

    def teardown(self) -> None:
        try:
            self.runner.run(self.world.close())
            self.runner.run(self.leases.aclose())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    # -- helpers

    def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do `work`; where the power fails in between, start again and go on. What may be refused may be refused."""
        try:
            with suppress(StateConflict, NotFound, NotLeading):
                return self.runner.run(work)
        except Crash:
            self.restart_after_crash()
        return None

    def restart_after_crash(self) -> None:
        """A crash costs clean comparisons, never a wrong one; the lease of who is dead ends by itself."""
        was_leading, known = self.world.leadership.is_leading, self.losses()
        self.runner.run(self.world.restart(crash=True))
        if was_leading:
            self.world.clock.advance(LEASE_S)
        self.ledger.forget_unwritten()
        self.runner.run(self.world.leadership.run_cycle())
        self.refused_ends.clear()
        kept = self.losses()
        assert {one: k for one, k in known.items() if k > kept[one]} == {}, "a crash cost a wrong answer"
        self.run(self.turn())

    def losses(self) -> dict[str, int]:
        """Wrong answers by candidate, as far as anybody knows."""
        found = {}
        for one in self.world.book.candidates():
            live = self.world.governor.evidence_of(one.id)
            whole = self.runner.run(self.world.book.whole(one.id))
            found[one.id] = live.account.k if live is not None else int(whole.evidence.get("k", 0))
        return found

    async def turn(self) -> None:
        """What the loops do."""
        leadership = self.world.leadership
        self.led = self.led or leadership.is_leading
        await leadership.when_leading(self.world.daemon.run_cycle)()
        await self.world.alert_watch.run_cycle()
        for component_id in COMPONENTS:
            candidate = self.world.book.open_candidate(APP, component_id)
            if candidate is not None and leadership.is_leading:
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

    def comparisons(self) -> dict[str, tuple[int, int]]:
        """(compared, wrong) of every candidate in live traffic."""
        of = self.world.governor.evidence_of
        live = {one.id: of(one.id) for one in self.world.book.candidates()}
        return {one: (found.account.n, found.account.k) for one, found in live.items() if found is not None}

    def must_answer(self, component_id: str, text: str) -> bool:
        """Whether a handler answers this by itself, whatever the model does."""
        live = self.world.rollouts.in_traffic(APP, component_id)
        last = live.candidate if live.candidate is not None and live.candidate.weight > 0 else live.baseline
        return (
            last is not None and last.weight == 1.0 and last.spec_hash == self.spec_hash(component_id)
            and text.endswith("apples") and not self.world.runner.faults
        )  # fmt: skip

    async def send(self, component_id: str, text: str) -> None:
        labels = {f"jit@{one.id if one.version is None else f'v{one.version}'}" for one in self.serving(component_id)}
        must_answer, is_down = self.must_answer(component_id, text), self.world.model.is_down
        before = self.comparisons()
        try:
            answer = await self.world.send(text, component_id, observe=False)
        except UhlpError:
            assert self.world.model.is_down, "a request failed although the model could have answered"
            assert not must_answer, "a request failed although a handler could have answered"
        else:
            assert answer.handler == "llm" or answer.implementation in labels
        self.sent.append(text)
        try:
            await self.world.observe()
        finally:
            for one, (n, k) in self.comparisons().items():
                if is_down and text not in self.adjudicated and one in before:
                    compared, wrong = n - before[one][0], k - before[one][1]
                    assert compared == wrong, "what nobody could judge was counted as right"
                    assert not wrong or self.may_fail(text), "what nobody could judge was counted as wrong"

    def may_fail(self, text: str) -> bool:
        """Whether some handler fails on this: that is wrong without asking anybody."""
        return text in self.world.runner.faults or text.endswith("nuts")

    # -- rules: how it starts

    @initialize(start=st.sampled_from(["nothing", "shadow", "held", "canary", "promoted"]))
    def begin(self, start: str) -> None:
        self.runner.run(self.world.open())
        components = (component(PROVE), component(CHECK, optimization={"trust": "serve-and-check"}))
        self.runner.run(self.world.register(*components))
        for component_id in COMPONENTS:
            texts = [self.text("right") for _ in range(40)]
            self.recorded += texts
            self.runner.run(self.world.record(texts, component_id))
        if start == "held":
            self.evolution_is_paused((APP, PROVE), True)
            self.optimize(PROVE, "good", False)
            self.evolution_is_paused((APP, PROVE), False)
            self.a_cycle()
            self.evolution_is_paused((APP, PROVE), True)
            self.requests(PROVE, "right", 45)
        elif start != "nothing":
            self.optimize(PROVE, "good", False)
            self.optimize(CHECK, "forgets pears", False)
        if start in ("canary", "promoted"):
            self.requests(PROVE, "right", 45)
            self.requests(CHECK, "right", 25)
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
        text = data.draw(st.sampled_from([*self.recorded[-20:], *self.sent[-50:]]))
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
        is_calm = self.world.fails is None and self.world.leadership.is_leading
        self.world.model.answer = lambda inputs: {"quantity": -1, "product": "changed"}
        self.requests(component_id, "right", 60)
        self.world.model.answer = parse
        if is_calm:
            assert [one for one in in_service if self.world.state_of(one) == S.PROMOTED] == []

    @precondition(lambda self: not self.world.model.is_down and self.world.fails is None)
    @rule(component_id=st.sampled_from(COMPONENTS))
    def the_provider_is_down_for_a_while(self, component_id: str) -> None:
        """I6: there is nothing to roll back to. The handler goes on (`send` sees to it), and somebody is told."""
        in_service = [one.id for one in self.serving(component_id) if one.state is S.PROMOTED]
        self.world.runner.faults, self.world.model.is_down = {}, True
        self.requests(component_id, "right", 30)
        self.run(self.world.alert_watch.run_cycle())
        told = [one["componentId"] for one in self.world.alert_watch.standing() if one["event"] == DOWN]
        if in_service and self.in_service_answers(component_id):
            assert component_id in told
        assert [one for one in in_service if self.world.state_of(one) != S.PROMOTED] == []
        self.world.model.is_down = False

    def in_service_answers(self, component_id: str) -> bool:
        """Whether the handler in full service answers every request, and not a candidate beside it."""
        live = self.world.rollouts.in_traffic(APP, component_id)
        return live.baseline is not None and (live.candidate is None or live.candidate.weight == 0)

    @rule(kind=st.sampled_from(list(TEXTS)), fault=st.sampled_from(["die", None]))
    def sandboxes_fail(self, kind: str, fault: str | None) -> None:
        upcoming = {TEXTS[kind].format(self.number + place): fault for place in range(1, 20)}
        self.world.runner.faults = {text: what for text, what in upcoming.items() if what is not None}

    @rule(seconds=st.sampled_from([1.0, 61.0, 700.0, 3700.0, 90_000.0, 8 * 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        """Who leads renews its lease."""
        leader = self.world.leadership if self.world.leadership.is_leading else self.rival
        self.world.clock.advance(seconds)
        self.runner.run(leader.run_cycle())

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

    @rule(component_id=st.sampled_from(COMPONENTS), count=st.integers(1, 3))
    def a_person_takes_it_out_and_tries_again(self, component_id: str, count: int) -> None:
        for _ in range(count):
            for one in self.serving(component_id):
                if not self.world.leadership.is_leading:
                    self.refused_ends.add(one.id)
                self.run(self.world.oversight.act(one.id, "rollback", actor="ann", reason="a rehearsal"))
            self.optimize(component_id, "good", False)
            self.requests(component_id, "right", 45)

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
        if not self.world.leadership.is_leading and candidate.is_serving:
            self.refused_ends.add(candidate.id)
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
            self.adjudicated.add(samples[0].input["text"])
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

    @rule(when=st.sampled_from(["before", "after", "lease"]))
    def power_or_lease_will_fail(self, when: str) -> None:
        self.world.fails = when

    # -- rules: another server

    @precondition(lambda self: self.world.leadership.is_leading)
    @rule(is_meant=st.sampled_from([False, True]))
    def the_lease_goes_to_another_server(self, is_meant: bool) -> None:
        if is_meant:
            self.world.clock.advance(LEASE_S)
            self.runner.run(self.rival.run_cycle())

    @precondition(lambda self: not self.world.leadership.is_leading)
    @rule()
    def the_lease_comes_back(self) -> None:
        self.runner.run(self.rival.aclose())
        self.world.clock.advance(LEASE_S)
        self.runner.run(self.world.leadership.run_cycle())
        self.run(self.turn())
        if self.world.leadership.is_leading:  # it may have gone again within a decision
            self.refused_ends.clear()

    # -- what must hold

    @invariant()
    def state_is_the_fold_of_the_ledger(self) -> None:
        """I2, I4, I9, I10 and the numbers: from the ledger."""
        self.runner.run(self.world.check())
        sealed = self.runner.run(self.world.store.entries(after=self.read, limit=100_000))
        self.read += len(sealed)
        self.ledger.read(one.entry for one in sealed)
        self.look_at_verdicts()
        assert self.ledger.broken == []
        for one in self.world.book.candidates():
            assert one.decided() == self.ledger.candidate(one.id).decided()

    def look_at_verdicts(self) -> None:
        for one in self.world.book.candidates():
            live = self.world.governor.evidence_of(one.id)
            if live is not None:
                self.ledger.saw(one.id, live.account.n, str(live.account.verdict))

    @invariant()
    def without_the_lease_nothing_is_decided(self) -> None:
        """And nothing is lost: what was on its way is written when the lease is back, or not at all."""
        written, _ = self.runner.run(self.world.store.head())
        if not self.led:
            assert written == self.written, "decided without the lease"
        self.written, self.led = written, self.world.leadership.is_leading
        assert not (self.led and self.rival.is_leading)

    @invariant()
    def table_agrees_with_states(self) -> None:
        """I2, I3: who is in traffic, and with which share, is what the states say; what is over never serves."""
        for component_id in COMPONENTS:
            known = self.world.book.candidates(APP, component_id)
            live = self.world.rollouts.in_traffic(APP, component_id)
            for handler, states in ((live.baseline, {S.PROMOTED}), (live.candidate, {S.SHADOW, S.CANARY})):
                expected = [one for one in known if one.state in states]
                if handler is None and not self.world.leadership.is_leading:
                    assert all(self.is_condemned(one) for one in expected), "out, although nobody wanted it out"
                    continue
                assert ([handler.candidate_id] if handler else []) == [one.id for one in expected]
                if handler is not None:
                    assert (handler.weight, handler.spec_hash) == (share_of(expected[0]), expected[0].spec_hash)
                    assert handler.implementation.artifact.sha256 == expected[0].code_sha
            for one in known:
                if one.code_sha is not None and not (one.is_open or one.is_serving):
                    assert self.world.rollouts.is_barred(APP, one.code_sha)

    def is_condemned(self, one: Candidate) -> bool:
        """Whether it has to go, by evidence, by its specification, or because a person said so."""
        live = self.world.governor.evidence_of(one.id)
        if live is None or one.id in self.refused_ends or one.spec_hash != self.spec_hash(one.component_id):
            return True
        has_alarm = one.is_serving and (live.audits.alarm or live.crashes.alarm or live.audits.failures >= 10)
        answers_too_little = live.figures.seen >= 50 and live.reachable_coverage < WIDE.verify.min_coverage
        return bool(has_alarm) or answers_too_little or live.account.verdict is Verdict.REJECT

    @invariant()
    def no_alarm_and_no_verdict_against_it_goes_unheard(self) -> None:
        """I5: also while paused, held or waiting for approval. Without the lease it is out of traffic all the same."""
        for one in self.world.book.candidates():
            live = self.world.governor.evidence_of(one.id)
            if live is None or one.spec_hash != self.spec_hash(one.component_id):
                continue
            has_alarm = one.is_serving and (live.audits.alarm is not None or live.crashes.alarm is not None)
            if has_alarm or live.account.verdict is Verdict.REJECT:
                assert not self.world.leadership.is_leading, "an alarm was not heard"
                live_handlers = self.world.rollouts.in_traffic(APP, one.component_id)
                for handler in (live_handlers.baseline, live_handlers.candidate):
                    assert handler is None or handler.candidate_id != one.id

    @invariant()
    def evaluator_is_out_of_reach(self) -> None:
        """I7: no coder is told what is held out, what it was told is no evidence, and no input counts too often."""
        told = self.world.model.specifications[self.specifications :]
        self.specifications += len(told)
        for text in (*self.recorded, *self.sent) if told else ():
            if split_of(input_hash({"text": text})) == "held_out":
                assert not [one for one in told if f'"{text}"' in one], "a coder was told what is held out"
        for one in self.world.book.candidates():
            live = self.world.governor.evidence_of(one.id)
            if live is not None:
                assert not live.inputs.keys() & self.shown_to_the_coder_of(one), "what the coder saw is evidence"
                assert max(live.inputs.values(), default=0) <= WIDE.duplicates_cap, "an input counts too often"
            if any("currentframe" in (draft.reason or "") for draft in one.drafts):
                assert one.state not in (S.SHADOW, S.CANARY, S.PROMOTED), "a deceiver is in traffic"

    def shown_to_the_coder_of(self, one: Candidate) -> frozenset[str]:
        if one.id not in self.shown:
            files = self.runner.run(self.world.state.read_ref_tree(APP, candidate_ref(one.id)))
            assert files is not None
            self.shown[one.id] = frozenset(json.loads(files["record.json"])["trained"])
        return self.shown[one.id]

    @invariant()
    def errors_of_measuring_have_their_own_budget(self) -> None:
        """I8: so many in a row pause the candidate (`send` sees to it that they are no score)."""
        for one in self.world.book.candidates():
            live = self.world.governor.evidence_of(one.id)
            if live is not None and self.world.leadership.is_leading:
                assert one.paused or live.measuring_errors < WIDE.measuring_errors_in_a_row
