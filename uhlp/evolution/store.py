"""`<data>/evolution.db`: ledger, candidates, payloads, regression set and settings of evolution, always in SQLite.

An entry and the candidate row it leads to are written in one transaction, fsynced (synchronous=FULL), before anything
is switched. All work runs in one thread of the store's own; the event loop never waits for the disk.

Evidence grows between decisions. `update_evidence` saves it without a ledger entry: at once when the candidate was
found wrong once more, else at most every `evidence_save_s` (reads see it earlier; `flush`, once a cycle, and `aclose`
write it). A crash can therefore lose some clean comparisons, never a wrong one.

`fence` says under which token a decision is written, and refuses (NotLeading) where this server may not decide.
Evidence is no decision and is saved all the same.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog

from uhlp.clock import Clock
from uhlp.errors import CandidateNotFound, Unavailable
from uhlp.evolution.attempts import Attempts, attempts_of
from uhlp.evolution.candidate import PROGRESS, Candidate, CandidateState, Kind
from uhlp.evolution.config import ConfigInForce, EvolutionConfig
from uhlp.evolution.database import EvolutionDatabase, Fence, Step, as_it_is, unfenced, unwatched
from uhlp.evolution.ledger import Event, LedgerEntry, SealedEntry, VerifyReport
from uhlp.evolution.ledger_export import first_line, last_line, line_of
from uhlp.evolution.records import Change, FoldProblem, RegressionCase, Scope
from uhlp.metering import Meter
from uhlp.state.store_latency import StoreLatency

log = structlog.get_logger(__name__)

T = TypeVar("T")
_EXPORTED_AT_ONCE = 200


class EvolutionStore:
    """Keeps what was decided. Open it with `async with` (or `open` and `aclose`)."""

    def __init__(
        self,
        *,
        path: Path,
        clock: Clock,
        config: ConfigInForce | None = None,
        fence: Fence = unfenced,
        step: Step = unwatched,
        meter: Meter | None = None,
    ) -> None:
        self._path = path
        self._database = EvolutionDatabase(path, fence=fence, step=step)
        self._clock = clock
        self._latency = StoreLatency("evolution", meter=meter, clock=clock)
        self._config = config or EvolutionConfig()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evolution-db")
        self._unsaved: dict[str, Candidate] = {}
        self._saved_at: dict[str, tuple[float, int]] = {}
        self._pauses: set[Scope] = set()
        self._listeners: list[Callable[[Sequence[SealedEntry]], None]] = []
        self._role_of: Callable[[str], str | None] = _no_role

    @property
    def instance_id(self) -> str:
        """What the ledger's chain begins with; no other data directory has it."""
        return self._database.instance_id

    def on_append(self, listener: Callable[[Sequence[SealedEntry]], None]) -> None:
        """Call `listener` with every decision once it is on disk. It must not wait; what it raises is logged."""
        self._listeners.append(listener)

    def roles_from(self, role_of: Callable[[str], str | None]) -> None:
        """Every entry names the role that its actor has at that moment, as `role_of` says."""
        self._role_of = role_of

    async def open(self) -> None:
        await self._run(self._database.open)
        self._pauses = await self._run(self._database.pauses)

    async def aclose(self) -> None:
        await self.flush()
        await self._run(self._database.close)
        self._thread.shutdown()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def append(
        self,
        entry: LedgerEntry,
        candidate: Candidate | None = None,
        *,
        payloads: Mapping[str, Any] | None = None,
        regressions: Iterable[RegressionCase] = (),
    ) -> int:
        """Write one decision and return its seq.

        `candidate` is the one `decisions.decide` returned with the entry. `payloads` maps digests
        (`records.digest_of`) to JSON values. Raises StateConflict, and writes nothing, when the candidate has moved on
        since, when the transition is not legal, or when the component has another open candidate. NotLeading: see the
        module's head.
        """
        return await self.append_all([Change(entry, candidate, payloads or {}, tuple(regressions))])

    async def append_all(self, changes: Sequence[Change]) -> int:
        """Several decisions in one transaction (a promotion that supersedes another); the seq of the last."""
        changes = [replace(one, entry=replace(one.entry, role=self._role_of(one.entry.actor))) for one in changes]
        decided = [change.candidate for change in changes if change.candidate is not None]
        # what waits is older than what is written now: a `flush` beside this must not write it afterwards
        waiting = {one.id: self._unsaved.pop(one.id) for one in decided if one.id in self._unsaved}
        try:
            with self._latency.of("decide"):
                sealed = await self._run(self._database.append, changes)
        except BaseException:
            self._unsaved = waiting | self._unsaved
            raise
        for one in decided:
            self._note_saved(one, self._clock.monotonic())
        for listener in self._listeners:
            try:
                listener(sealed)
            except Exception:  # it is decided; nobody who is told of it may undo that
                log.exception("decision_not_told", seq=sealed[-1].seq)
        return sealed[-1].seq

    async def update_evidence(self, candidate: Candidate, *, payloads: Mapping[str, Any] | None = None) -> bool:
        """Save the progress fields (see the module's head for when); True when they are on disk now."""
        now = self._clock.monotonic()
        every_s = self._config.now.evidence_save_s
        saved_at, wrong = self._saved_at.get(candidate.id, (-every_s, 0))
        if not payloads and _wrong(candidate) <= wrong and now - saved_at < every_s:
            self._unsaved[candidate.id] = candidate
            return False
        self._unsaved[candidate.id] = candidate  # should the disk be full, `flush` tries again
        with self._latency.of("save"):
            await self._run(self._database.save_progress, [candidate], payloads or {})
        if self._unsaved.get(candidate.id) is candidate:
            del self._unsaved[candidate.id]
        self._note_saved(candidate, now)
        return True

    def _note_saved(self, candidate: Candidate, now: float) -> None:
        """What is over grows hardly ever: then it is saved at once."""
        if candidate.is_open or candidate.is_serving:
            self._saved_at[candidate.id] = (now, _wrong(candidate))
        else:
            self._saved_at.pop(candidate.id, None)

    async def flush(self) -> None:
        """Write all evidence that is still in memory."""
        unsaved, self._unsaved = list(self._unsaved.values()), {}
        if not unsaved:
            return
        try:
            with self._latency.of("save"):
                await self._run(self._database.save_progress, unsaved, {})
        except Unavailable:
            self._unsaved = {one.id: one for one in unsaved} | self._unsaved
            raise

    async def candidate(self, candidate_id: str) -> Candidate:
        """Raises CandidateNotFound."""
        found = await self._run(self._database.candidates, "id = ?", (candidate_id,))
        if not found:
            raise CandidateNotFound(details={"candidateId": candidate_id})
        return self._with_unsaved(found[0])

    async def candidates(
        self,
        app_id: str | None = None,
        state: CandidateState | None = None,
        component_id: str | None = None,
        *,
        each: Callable[[Candidate], Candidate] = as_it_is,
    ) -> list[Candidate]:
        """All that match, oldest first; of each what `each` makes of it, one after the other."""
        wanted = {"app_id": app_id, "component_id": component_id, "state": state}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in given) or "true"
        return await self._run(
            self._database.candidates, where, tuple(given.values()), lambda one: each(self._with_unsaved(one))
        )

    async def shown(self, candidate_ids: Sequence[str]) -> dict[str, Candidate]:
        """These by id, without what only they themselves need of their measurements: how the evidence grew, the inputs
        and times it rests on, mismatches. A tenth of reading them whole.
        """
        if not candidate_ids:
            return {}
        return {one.id: self._with_unsaved(one) for one in await self._run(self._database.shown, candidate_ids)}

    async def promoted(self, app_id: str, component_id: str, kind: str = "jit") -> Candidate | None:
        """The candidate in full service, of which there is at most one per kind."""
        found = await self.candidates(app_id, CandidateState.PROMOTED, component_id)
        return next((one for one in found if one.kind == kind), None)

    async def attempts(self, app_id: str, component_id: str, spec_hash: str, kind: Kind = "jit") -> Attempts:
        """Attempt counter, failures, barred code shas and quarantine of this component, specification and kind."""
        sealed = await self._run(
            self._database.entries,
            "app_id = ? AND component_id = ? AND spec_hash = ?",
            (app_id, component_id, spec_hash),
        )
        return attempts_of((one.entry for one in sealed), kind)

    async def entries(
        self, app_id: str | None = None, after: int = 0, limit: int = 100, candidate_id: str | None = None
    ) -> list[SealedEntry]:
        """Ledger entries with seq > `after`, in order, at most `limit`."""
        where, values = "seq > ?", [str(after)]
        for name, value in (("app_id", app_id), ("candidate_id", candidate_id)):
            if value is not None:
                where, values = f"{where} AND {name} = ?", [*values, value]
        return await self._run(self._database.entries, where, tuple(values), limit)

    async def entries_of_service(self, app_id: str, component_id: str) -> list[SealedEntry]:
        """The entries by which candidates of a component came into full service or left it, in order; others may be
        among them."""
        where = "app_id = ? AND component_id = ? AND instr(body, CAST(? AS BLOB))"
        return await self._run(self._database.entries, where, (app_id, component_id, f'"{CandidateState.PROMOTED}"'))

    async def readable_entries(self) -> list[LedgerEntry]:
        """All entries of a ledger that may be damaged, in order, without those that cannot be read any more."""
        return await self._run(self._database.readable_entries)

    async def head(self) -> tuple[int, str]:
        """(seq, hash) of the newest entry; (0, h_0) of an empty ledger."""
        return await self._run(self._database.head)

    async def verify(self, anchor: tuple[int, str] | None = None) -> VerifyReport:
        """Recompute the whole chain; `anchor` is a head that was kept elsewhere."""
        return await self._run(self._database.verify, anchor)

    async def export(self) -> AsyncIterator[bytes]:
        """The whole ledger as it is now, as lines that `ledger_export.verify_lines` can verify without a server."""
        end, head = await self.head()
        yield first_line(self.instance_id)
        seq = 0
        while seq < end:
            limit = min(_EXPORTED_AT_ONCE, end - seq)
            found = await self._run(self._database.raw_entries, seq, limit)
            if not found:
                break
            yield b"".join(line_of(digest, body) for _, body, digest in found)
            seq = found[-1][0]
        yield last_line(end, head)

    async def newest_token(self) -> int:
        """The highest token that a decision here was written under; 0 when leading was never shared."""
        return await self._run(self._database.newest_token)

    async def check_fold(self) -> list[FoldProblem]:
        """Where candidate rows, settings or pauses are not what the ledger says; empty when all is well."""
        return await self._run(self._database.check_fold)

    async def settings(self) -> dict[str, Any]:
        """Overrides set at run time, by name."""
        return await self._run(self._database.settings)

    async def pause(
        self, *, actor: str, reason: str, app_id: str | None = None, component_id: str | None = None
    ) -> int:
        """Pause evolution everywhere, of one application, or of one component."""
        return await self._set_pause(Event.PAUSED, actor, reason, app_id, component_id)

    async def resume(
        self, *, actor: str, reason: str, app_id: str | None = None, component_id: str | None = None
    ) -> int:
        """Lift the pause of exactly this scope."""
        return await self._set_pause(Event.RESUMED, actor, reason, app_id, component_id)

    def is_paused(self, app_id: str | None = None, component_id: str | None = None) -> bool:
        """Whether this scope, or one around it, is paused."""
        return not self._pauses.isdisjoint({(None, None), (app_id, None), (app_id, component_id)})

    def pauses(self) -> set[Scope]:
        """The paused scopes as (app_id, component_id); (None, None) is everything."""
        return set(self._pauses)

    async def payload(self, digest: str, app_id: str) -> Any | None:
        """The value behind a digest; None when it was deleted."""
        return await self._run(self._database.payload, app_id, digest)

    async def regressions(self, app_id: str, component_id: str, spec_hash: str | None = None) -> list[RegressionCase]:
        """Inputs that earlier candidates got wrong, oldest first."""
        return await self._run(self._database.regressions, app_id, component_id, spec_hash)

    async def delete_payloads(self, app_id: str) -> None:
        """Forget the application's payloads and regression set; ledger and candidates keep their digests."""
        await self._run(self._database.delete_payloads, app_id)

    async def _set_pause(
        self, event: Event, actor: str, reason: str, app_id: str | None, component_id: str | None
    ) -> int:
        if component_id is not None and app_id is None:
            raise ValueError("a component is paused within an application")
        entry = LedgerEntry(
            ts=self._clock.now(), actor=actor, event=event, reason=reason, app_id=app_id, component_id=component_id
        )
        seq = await self.append(entry)
        self._pauses = await self._run(self._database.pauses)
        return seq

    def _with_unsaved(self, stored: Candidate) -> Candidate:
        unsaved = self._unsaved.get(stored.id)
        if unsaved is None:
            return stored
        return replace(stored, **{name: getattr(unsaved, name) for name in PROGRESS})

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` in the store's thread; a full disk or an unwritable file gives Unavailable with the reason."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the evolution database {self._path} fails: {error}") from error


def _no_role(actor: str) -> None:
    """Of nobody a role is known."""


def _wrong(candidate: Candidate) -> int:
    """Losses counted so far, in evidence and monitor."""
    return int(candidate.evidence.get("k", 0)) + int(candidate.monitor.get("failures", 0))
