"""RunTimeSettings: what people change while the server runs: the governor's numbers, global rules and configuration.

A change is checked as a whole, written to the ledger with the old and the new value, and then in force. It is kept in
`<data>/evolution.db` and wins over file and environment after a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import StateConflict, ValidationFailed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import CandidateState
from uhlp.evolution.evolution_numbers import AT_RUN_TIME, PREFIX, EvolutionNumbers, SetAtRunTime
from uhlp.evolution.global_settings import CONFIGURATION, NAMES, GlobalSettings, checked
from uhlp.evolution.ledger import Event, LedgerEntry
from uhlp.evolution.records import Change
from uhlp.evolution.store import EvolutionStore

_WEIGHTS = "canary.weights"
_KEPT = {one.name for one in fields(SetAtRunTime)}


class RunTimeSettings:
    """`open` reads what was set before. `reload_configuration` merges a changed configuration into all applications."""

    def __init__(
        self,
        *,
        store: EvolutionStore,
        book: CandidateBook,
        numbers: EvolutionNumbers,
        global_settings: GlobalSettings,
        reload_configuration: Callable[[], Awaitable[object]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._book = book
        self._numbers = numbers
        self._global = global_settings
        self._reload_configuration = reload_configuration
        self._clock = clock
        self._changing = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each change, on the event loop."""
        self._listeners.append(listener)

    async def open(self) -> None:
        """Before the first decision of a start."""
        kept = {
            name: SetAtRunTime(**one)
            for name, one in (await self._store.settings()).items()
            if _is_ours(name) and isinstance(one, dict) and one.keys() == _KEPT
        }  # what else stands there differs from the ledger, and readiness says so
        numbers = {name.removeprefix(PREFIX): one for name, one in kept.items() if name.startswith(PREFIX)}
        self._numbers.load(numbers)
        self._global.load({name: one for name, one in kept.items() if name in NAMES})
        if CONFIGURATION in kept:
            await self._reload_configuration()

    def numbers(self) -> dict[str, Any]:
        """Every number of the governor, and the hash that candidates begun now are given."""
        return {"configHash": self._numbers.now.digest, "numbers": self._numbers.described()}

    def global_settings(self) -> dict[str, Any]:
        """Global rules and configuration."""
        return self._global.described()

    def over(self, at_start: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """The settings that were given at start, {name: {value, origin}}, with what has been set since."""
        known = {f"{PREFIX}{name}": one for name, one in self._numbers.described().items()} | self._global.described()
        since = {
            name: {"value": one["value"], "origin": one["origin"]}
            for name, one in known.items()
            if one["origin"] == AT_RUN_TIME
        }
        return {**at_start, **since}

    async def change_numbers(
        self, changes: Mapping[str, Any], *, reset: Sequence[str] = (), actor: str, reason: str
    ) -> dict[str, Any]:
        """Set numbers by name, give those of `reset` back to the settings. All or nothing; raises ValidationFailed,
        StateConflict.
        """
        async with self._changing:
            wanted = self._wanted(changes, reset, actor, reason)
            after = self._numbers.after(wanted)
            if _WEIGHTS in wanted:
                self._refuse_during_canaries()
            await self._write(wanted, self._numbers, actor, reason, prefix=PREFIX)
            self._numbers.put(after)
        self._tell()
        return self.numbers()

    async def change_global(
        self, changes: Mapping[str, Any], *, reset: Sequence[str] = (), actor: str, reason: str
    ) -> dict[str, Any]:
        """Set rules, configuration or both, whole. Raises ValidationFailed, ExpressionInvalid."""
        async with self._changing:
            good = {name: checked(name, value) for name, value in changes.items()}
            wanted = self._wanted(good, reset, actor, reason)
            await self._write(wanted, self._global, actor, reason)
            self._global.put(self._global.after(wanted))
            if CONFIGURATION in wanted:
                await self._reload_configuration()
        self._tell()
        return self.global_settings()

    def _wanted(
        self, changes: Mapping[str, Any], reset: Sequence[str], actor: str, reason: str
    ) -> dict[str, SetAtRunTime | None]:
        if not changes and not reset:
            raise ValidationFailed("Nothing is asked for: name what to change, or what to reset.")
        if both := sorted(set(changes) & set(reset)):
            raise ValidationFailed(f"{both[0]} is to be changed and reset.", details={"path": both[0]})
        at = self._clock.now()
        set_now = {name: SetAtRunTime(value, actor, at, reason) for name, value in changes.items()}
        return {**set_now, **dict.fromkeys(reset)}

    def _refuse_during_canaries(self) -> None:
        """A canary's step is a place in the list: another list would give it another share without a decision."""
        stepping = [one.id for one in self._book.candidates() if one.state is CandidateState.CANARY]
        if stepping:
            raise StateConflict(
                f"{_WEIGHTS} cannot change while a candidate is in a canary: {', '.join(stepping)}.",
                details={"candidates": stepping},
            )

    async def _write(
        self,
        wanted: Mapping[str, SetAtRunTime | None],
        holder: EvolutionNumbers | GlobalSettings,
        actor: str,
        reason: str,
        prefix: str = "",
    ) -> None:
        """Ledger first: nothing is in force that is not written. One entry each, all in one transaction."""
        changes = []
        for name, one in wanted.items():
            old, new = holder.value(name), holder.given(name) if one is None else one.value
            what = f"{prefix}{name} from {old} to {new}" if prefix else f"{name} replaced"
            entry = LedgerEntry(
                ts=self._clock.now(),
                actor=actor,
                event=Event.SETTING,
                reason=f"{what}: {reason}",
                patch={"name": prefix + name, "value": None if one is None else asdict(one)},
                evidence={"old": old, "new": new},
            )
            changes.append(Change(entry))
        await self._store.append_all(changes)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) or name in NAMES
