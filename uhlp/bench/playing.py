"""One run of a scenario: traffic comes in, time passes, cycles turn, until the candidate is decided about."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uhlp.bench.actors import HISTORY, right_answer
from uhlp.bench.machine import APP, COMPONENT, Machine, open_machine
from uhlp.bench.scenarios import Scenario
from uhlp.errors import UhlpError
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import EvolutionConfig
from uhlp.routing.request import RoutedRequest
from uhlp.routing.request_router import RequestRouter

S = CandidateState
Outcome = Literal["promoted", "refused", "undecided"]

IN_FLIGHT = 4
"""So many requests are always answered and not yet measured."""
PERIOD_S = 0.5
"""Between two requests."""
MOST_REQUESTS = 20_000
"""Of one run; whoever has no decision by then is undecided."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How one run ended.

    `requests` were needed from the first recorded one to the decision; where a handler in service turned, from then to
    the rollback. `wrong_served` wrong answers of the handler reached users meanwhile. `reference_calls` are model calls
    that only measured, over the whole run. `failed_requests` got no answer at all. `has_turned`: the state at which the
    handler turns was reached.
    """

    scenario: str
    seed: int
    outcome: Outcome
    cause: str
    reason: str
    requests: int
    wrong_served: int
    reference_calls: int
    failed_requests: int
    has_turned: bool = False


async def play(scenario: Scenario, seed: int, config: EvolutionConfig, directory: Path) -> RunResult:
    """Play `scenario` once on a machine of its own."""
    async with open_machine(
        directory, model=scenario.model, handler=scenario.handler, optimization=scenario.wire(), config=config,
        seed=seed,
    ) as machine:  # fmt: skip
        return await _Run(machine, scenario, seed, config).play()


class _Run:
    def __init__(self, machine: Machine, scenario: Scenario, seed: int, config: EvolutionConfig) -> None:
        self._machine, self._scenario, self._seed = machine, scenario, seed
        self._number = self._since = self._wrong_served = self._failed = 0
        self._cycle_s = config.cycle_s
        self._next_cycle = machine.clock.monotonic() + config.cycle_s

    async def play(self) -> RunResult:
        machine, scenario = self._machine, self._scenario
        for _ in range(HISTORY):
            await self._request(machine.recording)
        await machine.samples.flush()
        discovered = await machine.daemon.discover(APP, COMPONENT, actor="bench", reason="measured", proposer="coder")
        await machine.compiler.compile(discovered.id)
        candidate = await self._until(discovered.id, lambda one: not one.is_open or one.state is S.INCONCLUSIVE)
        if candidate.state is S.PROMOTED and scenario.turns_at is S.PROMOTED:
            self._since, self._wrong_served = self._number, 0
            candidate = await self._until(discovered.id, lambda one: one.state is not S.PROMOTED)
        return self._result(candidate)

    async def _until(self, candidate_id: str, is_over: Callable[[Candidate], bool]) -> Candidate:
        candidate = self._machine.book.candidate(candidate_id)
        while not is_over(candidate) and self._number - self._since < MOST_REQUESTS:
            self._turn(candidate)
            await self._request(self._machine.serving)
            candidate = self._machine.book.candidate(candidate_id)
        return candidate

    def _turn(self, candidate: Candidate) -> None:
        """The handler becomes what it turns into as soon as the state for it is reached."""
        if candidate.state is self._scenario.turns_at:
            self._machine.executor.handler = self._scenario.turns_into

    async def _request(self, router: RequestRouter) -> None:
        machine, clock = self._machine, self._machine.clock
        started, number = clock.monotonic(), self._number
        self._number += 1
        app = machine.registry.snapshot(APP)
        request = RoutedRequest(
            app=app, component=app.components[COMPONENT], input={"number": number}, trace_id=str(number)
        )
        try:
            answer = await router.handle(request)
            self._wrong_served += answer.handler == "jit" and answer.result.data != right_answer(number)
        except UhlpError:
            self._failed += 1
        while len(machine.observations) > IN_FLIGHT:
            await machine.observer.run_cycle()
        clock.advance(max(0.0, PERIOD_S - (clock.monotonic() - started)))
        if clock.monotonic() >= self._next_cycle:
            self._next_cycle += self._cycle_s
            await machine.daemon.run_cycle()

    def _result(self, candidate: Candidate) -> RunResult:
        outcome: Outcome = "refused"
        if candidate.state is S.PROMOTED:
            outcome = "promoted"
        elif candidate.is_open:
            outcome = "undecided"
        return RunResult(
            scenario=self._scenario.name,
            seed=self._seed,
            outcome=outcome,
            cause=candidate.cause or "",
            reason=candidate.reason,
            requests=self._number - self._since,
            wrong_served=self._wrong_served,
            reference_calls=self._machine.executor.reference_calls,
            failed_requests=self._failed,
            has_turned=self._machine.executor.handler is not self._scenario.handler,
        )
