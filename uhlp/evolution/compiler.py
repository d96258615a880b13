"""Compiler: takes a candidate from discovered to shadow, the long work before live traffic.

discovered ──proposer, up to 3 repair rounds──► synthesized ──► verified ──HELD-OUT replay──► shadow
    │ not a function, nobody can propose            │ policy, tests, TRAIN replay,  │ evidence against it, answers
    │                                               │ worse than the last handler   │ too little, slower
    ▼                                               ▼                               ▼
 rejected                                        rejected                        rejected

Code that tries to deceive its evaluation is quarantined at once, whatever it answers.

What could not be measured (the model is down, no sandbox is free) decides nothing: the work is postponed, and a
candidate whose HELD-OUT replay could not be judged is `waiting`. Few held-out samples are no reason to wait: shadow
costs nothing without traffic, and evidence grows there. An error that nobody expected decides nothing either, but is no
trouble that passes by itself: after `measuring_errors_in_a_row` of them the candidate is paused, and a person looks.
"""

import asyncio

import structlog

from uhlp.backoff import backoff_s
from uhlp.errors import NotFound, StateConflict, UhlpError, Unavailable
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Kind
from uhlp.evolution.compression import Compression
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.held_out_stage import HeldOutStage
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.prompt_synthesis import PromptSynthesis
from uhlp.evolution.questions import Questions
from uhlp.evolution.recordings import Recordings
from uhlp.evolution.reference import MeasurementFailed, Reference
from uhlp.evolution.regressions import Regressions
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.synthesis import Synthesis
from uhlp.evolution.verification import Verifier
from uhlp.execution import Executor
from uhlp.llm import Budgets
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore

log = structlog.get_logger(__name__)

S = CandidateState
_FIRST_POSTPONEMENT_S = 10.0
_LONGEST_POSTPONEMENT_S = 600.0
BEFORE_TRAFFIC = frozenset({S.DISCOVERED, S.SYNTHESIZED, S.VERIFIED, S.WAITING})


class Compiler:
    """Works off a queue of candidate ids; several of its cycles may run side by side, each on its own candidate."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        governor: SafetyGovernor,
        drafting: Drafting,
        verifier: Verifier,
        promotion: Promotion,
        reference: Reference,
        questions: Questions,
        executor: Executor,
        samples: SampleStore,
        app_registry: ApplicationRegistry,
        config: ConfigInForce,
        compression: Compression | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self._book = book
        self._store = store
        self._config = config
        recordings = Recordings(samples=samples, reference=reference, app_registry=app_registry)
        regressions = Regressions(
            book=book, store=store, promotion=promotion, executor=executor, reference=reference, config=config
        )
        self._synthesis = Synthesis(
            book=book, governor=governor, drafting=drafting, verifier=verifier, promotion=promotion,
            reference=reference, regressions=regressions, recordings=recordings, config=config,
        )  # fmt: skip
        self._held_out = HeldOutStage(
            book=book, governor=governor, promotion=promotion, reference=reference, questions=questions,
            executor=executor, recordings=recordings, config=config,
        )  # fmt: skip
        self._prompts: PromptSynthesis | None = None
        if compression is not None and budgets is not None:
            self._prompts = PromptSynthesis(
                book=book, store=store, governor=governor, promotion=promotion, compression=compression,
                reference=reference, recordings=recordings, budgets=budgets, config=config,
            )  # fmt: skip
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of candidates that can be worked on here."""
        return ("jit",) if self._prompts is None else ("jit", "prompt")

    def enqueue(self, candidate_id: str) -> None:
        """Work on this candidate as soon as a cycle is free; a candidate is queued or worked on once at a time."""
        if candidate_id not in self._queued:
            self._queued.add(candidate_id)
            self._queue.put_nowait(candidate_id)

    async def run_cycle(self) -> None:
        """Take one candidate as far as it can go now."""
        candidate_id = await self._queue.get()
        try:
            await self.compile(candidate_id)
        finally:
            self._queued.discard(candidate_id)

    async def compile(self, candidate_id: str) -> None:
        """Take `candidate_id` from the state it is in to shadow, waiting or an end; a restart resumes here.

        Returns where it stands when it is paused, waits for something, or was decided about by someone else.
        """
        candidate = self._book.candidate(candidate_id)
        try:
            if candidate.is_prompt:
                await self._shorten(candidate)
                await self.abandon(candidate_id)
                return
            if candidate.state is S.DISCOVERED and self._may_work_on(candidate):
                candidate = await self._synthesis.synthesize(candidate)
            if candidate.state is S.SYNTHESIZED and self._may_work_on(candidate):
                candidate = await self._synthesis.verify(candidate)
            if candidate.state in (S.VERIFIED, S.WAITING) and self._may_work_on(candidate):
                trouble = await self._held_out.replay(candidate)
                if trouble is not None:
                    await self._wait(candidate, trouble)
        except (MeasurementFailed, Unavailable) as failure:
            self._postpone(candidate_id, str(failure))
        except (StateConflict, NotFound) as overtaken:  # a person's decision, a changed or removed definition
            log.info("compilation_overtaken", candidate=candidate_id, why=overtaken.message)
            await self.abandon(candidate_id)
        except Exception as error:  # ours, or an engine's: asked again at once it would cost the same again
            log.exception("compilation_failed", candidate=candidate_id)
            await self._note_error(candidate_id, error)

    async def abandon(self, candidate_id: str) -> None:
        """End what still runs for a candidate, if it is over: of a shorter prompt the OptimizeLoop's run."""
        candidate = self._book.candidate(candidate_id)
        if self._prompts is None or not candidate.is_prompt or candidate.is_open or candidate.is_serving:
            return
        try:
            await self._prompts.abandon(candidate)
        except UhlpError as error:  # its end stands; the run only spends what it was given
            log.warning("optimisation_not_cancelled", candidate=candidate_id, why=error.message)

    async def _shorten(self, candidate: Candidate) -> None:
        """A run of the OptimizeLoop is looked at, not waited for; the candidate stays discovered till it is over."""
        if self._prompts is None:
            raise MeasurementFailed("this server shortens no prompts")
        if candidate.state is S.DISCOVERED and self._may_work_on(candidate):
            candidate = await self._prompts.synthesize(candidate)
        if candidate.state in (S.SYNTHESIZED, S.VERIFIED) and self._may_work_on(candidate):
            await self._prompts.admit(candidate)

    def _may_work_on(self, candidate: Candidate) -> bool:
        is_held = candidate.paused or self._store.is_paused(candidate.app_id, candidate.component_id)
        return not is_held and self._book.now() >= candidate.measurements.get("retryAt", 0.0)

    async def _note_error(self, candidate_id: str, error: Exception) -> None:
        """It says nothing about the candidate. Its own words may hold recorded values, so only those of our tree are
        told."""
        candidate = self._book.candidate(candidate_id)
        if not candidate.is_open:
            return
        why = error.message if isinstance(error, UhlpError) else f"{type(error).__name__}, see the server's log"
        errors = candidate.measurements.get("errorsInARow", 0) + 1
        if errors < self._config.now.measuring_errors_in_a_row:
            self._postpone(candidate_id, why, errors=errors)
            return
        self._postpone(candidate_id, why)
        reason = f"paused: work on it failed {errors} times in a row, which says nothing about it; the last: {why}"
        await self._book.decide(candidate_id, actor=GOVERNOR, reason=reason, paused=True)

    def _postpone(self, candidate_id: str, why: str, *, errors: int = 0) -> None:
        """Try again later, each time after twice as long. `errors` that nobody expected came in a row."""
        log.info("compilation_postponed", candidate=candidate_id, why=why)
        known = self._book.candidate(candidate_id).measurements
        times = known.get("postponed", 0) + 1
        wait_s = backoff_s(times, first_s=_FIRST_POSTPONEMENT_S, longest_s=_LONGEST_POSTPONEMENT_S)
        changed = {
            "postponed": times, "postponedBecause": why, "retryAt": self._book.now() + wait_s, "errorsInARow": errors,
        }  # fmt: skip
        self._book.grow(candidate_id, measurements={**known, **changed})

    async def _wait(self, candidate: Candidate, why: str) -> None:
        """Nothing is wrong, but the replay could not be judged: start it again later."""
        if candidate.state is not S.WAITING:
            reason = f"HELD-OUT replay could not be judged: {why}"
            await self._book.decide(candidate.id, S.WAITING, actor=GOVERNOR, reason=reason)
        self._postpone(candidate.id, why)
