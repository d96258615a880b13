"""What the governor bench plays, and what must come of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from uhlp.bench.actors import HandlerScript, ModelScript
from uhlp.evolution.candidate import CandidateState
from uhlp.models.definition import Trust

S = CandidateState
PERFECT, NOISELESS = HandlerScript(), ModelScript()
KNOWN_EPSILON = 0.01
MAX_WRONG_ANSWERS = 10
_AUDIT_5_PERCENT = 160
"""The `maxWrongAnswers` W at which the audit share 8 / W is 5 %."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What must hold over all runs of a scenario; None where nothing is asked.

    `promoted_at_most` and `promoted_at_least` are shares of the runs. `wrong_on_average` and `wrong_at_most` count
    wrong answers served in one run; `wrong_at_most` is beside those that were in flight.
    """

    promoted_at_most: float | None = None
    promoted_at_least: float | None = None
    wrong_on_average: float | None = None
    wrong_at_most: int | None = None


NO_TARGETS = Targets()


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table. From the state `turns_at` on the handler is `turns_into`: what was let in changes.

    `runs` are played by the long bench, `quick_runs` by the short one. Where a handler turns after its promotion, what
    counts (requests, wrong answers) starts there.
    """

    name: str
    handler: HandlerScript = PERFECT
    model: ModelScript = NOISELESS
    turns_at: CandidateState | None = None
    turns_into: HandlerScript = PERFECT
    trust: Trust = "prove-first"
    max_wrong_answers: int = MAX_WRONG_ANSWERS
    epsilon: float = KNOWN_EPSILON
    targets: Targets = NO_TARGETS
    runs: int = 100
    quick_runs: int = 2

    def wire(self) -> dict[str, Any]:
        """The component's optimization, in wire names."""
        return {"epsilon": self.epsilon, "trust": self.trust, "maxWrongAnswers": self.max_wrong_answers}


def scenarios(epsilon: float) -> tuple[Scenario, ...]:
    """All rows, for components that allow a share `epsilon` of wrong answers, at most 5 %.

    Shares of faults grow with it: the names say what they are. What a turn in service may cost is known for 1 % alone.
    """
    rows = (*_right(), *_wrong(epsilon), *_failing(epsilon), *_turning(epsilon), *_noisy())
    return tuple(replace(one, epsilon=epsilon) for one in rows)


_LET_IN = Targets(promoted_at_least=0.99)
_REFUSED = Targets(promoted_at_most=1 / 400)
_TAKEN_OUT = Targets(promoted_at_most=0.0)
_BOUNDED = Targets(promoted_at_most=1 / 400, wrong_at_most=MAX_WRONG_ANSWERS)
_CHECKED: Trust = "serve-and-check"
_SLOW = HandlerScript(latency_ms=1.5 * NOISELESS.latency_ms)


def _right() -> Iterator[Scenario]:
    yield Scenario("perfect", targets=_LET_IN, runs=200, quick_runs=6)
    yield Scenario("perfect, checked", trust=_CHECKED, targets=_LET_IN, runs=100, quick_runs=6)
    yield Scenario("perfect on half", HandlerScript(leaves=0.5), targets=_LET_IN, runs=20, quick_runs=1)


def _wrong(epsilon: float) -> Iterator[Scenario]:
    for share, runs in ((0.5 * epsilon, 40), (epsilon, 30)):
        yield Scenario(f"{_percent(share)} wrong", HandlerScript(wrong=share), runs=runs, quick_runs=1)
    for share, checked_runs in ((2 * epsilon, 400), (5 * epsilon, 200), (min(1.0, 20 * epsilon), 200)):
        name, handler = f"{_percent(share)} wrong", HandlerScript(wrong=share)
        yield Scenario(name, handler, targets=_REFUSED, runs=400, quick_runs=8)
        yield Scenario(
            f"{name}, checked", handler, trust=_CHECKED, targets=_BOUNDED, runs=checked_runs, quick_runs=8
        )  # fmt: skip


def _failing(epsilon: float) -> Iterator[Scenario]:
    share = min(1.0, 30 * epsilon)
    name = f"{_percent(share)} wrong on HELD-OUT, right on TRAIN"
    yield Scenario(name, HandlerScript(wrong=share), targets=_REFUSED, quick_runs=4)
    name, crashing = f"crashes {_percent(5 * epsilon)}", HandlerScript(crashes=5 * epsilon)
    yield Scenario(name, crashing, targets=_REFUSED, quick_runs=4)
    yield Scenario(f"{name}, checked", crashing, trust=_CHECKED, targets=_REFUSED, quick_runs=4)
    yield Scenario("slower than the model", _SLOW, targets=_REFUSED, runs=20)
    in_canary = Scenario("", turns_at=S.CANARY, turns_into=_SLOW, targets=_REFUSED, runs=20)
    in_time = HandlerScript(latency_ms=NOISELESS.latency_ms / 4)
    yield replace(in_canary, name="slower than the model in the canary", handler=in_time)
    yield replace(in_canary, name="beyond its deadline in the canary")


def _turning(epsilon: float) -> Iterator[Scenario]:
    yield Scenario(
        "crashes 20 % once promoted", turns_at=S.PROMOTED, turns_into=HandlerScript(crashes=0.2), targets=_TAKEN_OUT,
        runs=20, quick_runs=1,
    )  # fmt: skip
    # checked: it is in service sooner, and the audit share falls to 8 / W just the same
    turns = {5 * epsilon: (175.0, 100), min(1.0, 20 * epsilon): (110.0, 200), 1.0: (90.0, 200)}
    for share, (most, runs) in turns.items():
        yield Scenario(
            f"{_percent(share)} wrong once promoted", turns_at=S.PROMOTED, turns_into=HandlerScript(wrong=share),
            trust=_CHECKED, max_wrong_answers=_AUDIT_5_PERCENT, runs=runs, quick_runs=8,
            targets=replace(_TAKEN_OUT, wrong_on_average=most if epsilon == KNOWN_EPSILON else None),
        )  # fmt: skip


def _noisy() -> Iterator[Scenario]:
    for disagreement, least, runs in ((0.025, 0.97, 150), (0.05, None, 40)):
        yield Scenario(
            f"perfect, model {_percent(disagreement)} noisy", model=ModelScript(self_disagreement=disagreement),
            targets=Targets(promoted_at_least=least), runs=runs,
        )  # fmt: skip


def _percent(share: float) -> str:
    return f"{share * 100:g} %"
