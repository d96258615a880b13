"""Notifications: what people and their systems are told of evolution, as it happens.

Decisions are told once they are in the ledger, and in its order; a client that was away reads on from the ledger
itself. Conditions that are no decision (`alert_watch`) are told while a client listens, and stand in the overview.
Telling never holds up a decision: whoever is slow is told less.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal
from uuid import uuid4

from uhlp.clock import Clock
from uhlp.errors import TooManyRequests
from uhlp.evolution.candidate import CandidateState
from uhlp.evolution.ledger import Event, LedgerEntry, SealedEntry
from uhlp.evolution.store import EvolutionStore
from uhlp.rfc3339 import rfc3339

Severity = Literal["info", "warning", "critical"]
S = CandidateState


class Alert(StrEnum):
    """What is worth waking somebody for; a webhook that names no events is told of these."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    RETURNED = "returned"
    QUARANTINED = "quarantined"
    FROZEN = "frozen"
    APPROVAL_WANTED = "approval_wanted"
    BUDGET_EXHAUSTED = "budget_exhausted"
    LEDGER_MISMATCH = "ledger_mismatch"
    APPLICATION_DEGRADED = "application_degraded"
    ROLLBACK_TARGET_DOWN = "rollback_target_down"


EVENTS = frozenset({*Alert, *S, *(one for one in Event if one not in (Event.CREATED, Event.MOVED))})
"""Every name that `Notification.event` may have: an alert, the state a candidate entered, or what was decided."""

_SEVERITIES: Mapping[str, Severity] = {
    Alert.ROLLED_BACK: "warning",
    Alert.QUARANTINED: "warning",
    Alert.FROZEN: "warning",
    Alert.APPROVAL_WANTED: "warning",
    Alert.BUDGET_EXHAUSTED: "warning",
    Alert.APPLICATION_DEGRADED: "warning",
    Alert.LEDGER_MISMATCH: "critical",
    Alert.ROLLBACK_TARGET_DOWN: "critical",
}
_PAGE = 100
_UNTOLD_ALERTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One thing that happened. `id` never comes twice; `seq` is that of the ledger's entry, None for a condition."""

    id: str
    ts: float
    event: str
    reason: str
    seq: int | None = None
    app_id: str | None = None
    component_id: str | None = None
    candidate_id: str | None = None
    actor: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    is_last: bool = True
    """False when more is told of the same entry."""

    @property
    def severity(self) -> Severity:
        return _SEVERITIES.get(self.event, "info")

    def to_dict(self) -> dict[str, Any]:
        """As it travels; `ts` in ISO 8601, UTC."""
        return {
            "id": self.id,
            "ts": rfc3339(self.ts),
            "severity": self.severity,
            "event": self.event,
            "appId": self.app_id,
            "componentId": self.component_id,
            "candidateId": self.candidate_id,
            "actor": self.actor,
            "reason": self.reason,
            "evidence": dict(self.evidence),
        }


def notifications_of(sealed: SealedEntry, instance_id: str) -> list[Notification]:
    """What there is to tell of one decision; first what it is, then what it asks for."""
    entry = sealed.entry
    is_move = entry.event in (Event.CREATED, Event.MOVED)
    decided = _notification(sealed, instance_id, str(entry.to_state) if is_move else str(entry.event), "")
    if not _wants_approval(entry):
        return [decided]
    return [replace(decided, is_last=False), _notification(sealed, instance_id, Alert.APPROVAL_WANTED, "-approval")]


def _notification(sealed: SealedEntry, instance_id: str, event: str, suffix: str) -> Notification:
    entry = sealed.entry
    return Notification(
        id=f"{instance_id[:12]}-{sealed.seq}{suffix}",
        ts=entry.ts,
        event=event,
        reason=entry.reason,
        seq=sealed.seq,
        app_id=entry.app_id,
        component_id=entry.component_id,
        candidate_id=entry.candidate_id,
        actor=entry.actor,
        evidence=entry.evidence,
    )


def _wants_approval(entry: LedgerEntry) -> bool:
    return entry.patch.get("approval_required") is True and entry.patch.get("approved_by") is None


@dataclass(slots=True)
class _Listener:
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    alerts: deque[Notification] = field(default_factory=lambda: deque(maxlen=_UNTOLD_ALERTS))


class Notifications:
    """Tells whoever listens. `most_followers` streams at once (`follow`); receivers (webhooks) are called."""

    def __init__(self, *, store: EvolutionStore, clock: Clock, most_followers: int = 64) -> None:
        self._store = store
        self._clock = clock
        self._most_followers = most_followers
        self._listeners: list[_Listener] = []
        self._receivers: list[Callable[[Notification], None]] = []
        store.on_append(self._decided)

    def on_notification(self, receiver: Callable[[Notification], None]) -> None:
        """Call `receiver` with everything that is told; it must not wait."""
        self._receivers.append(receiver)

    def alert(
        self,
        event: Alert,
        *,
        reason: str,
        app_id: str | None = None,
        component_id: str | None = None,
        candidate_id: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Notification:
        """Tell of a condition that is no decision."""
        told = Notification(
            id=f"{self._store.instance_id[:12]}-{uuid4().hex[:12]}", ts=self._clock.now(), event=event, reason=reason,
            app_id=app_id, component_id=component_id, candidate_id=candidate_id, evidence=evidence or {},
        )  # fmt: skip
        for listener in self._listeners:
            listener.alerts.append(told)
            listener.woken.set()
        self._receive(told)
        return told

    def check_room(self) -> None:
        """Raise TooManyRequests when no more may follow now."""
        if len(self._listeners) >= self._most_followers:
            raise TooManyRequests(f"{self._most_followers} clients follow the events already.", retry_after_s=10.0)

    async def follow(
        self,
        *,
        after: int | None = None,
        app_id: str | None = None,
        heartbeat_s: float = 15.0,
        until: asyncio.Event | None = None,
    ) -> AsyncIterator[Notification | None]:
        """What is decided after entry `after` (None: from now on), and conditions from now on; for one application, or
        all. None for every `heartbeat_s` without news. Ends when `until` is set. TooManyRequests when too many follow.

        Nothing waits in memory for a slow reader but a hundred conditions: decisions are read as it takes them.
        """
        self.check_room()
        listener, ending = _Listener(), until or asyncio.Event()
        self._listeners.append(listener)
        try:
            seq = (await self._store.head())[0] if after is None else after
            while not ending.is_set():
                listener.woken.clear()
                found = await self._store.entries(app_id, after=seq, limit=_PAGE)
                for sealed in found:
                    for told in notifications_of(sealed, self._store.instance_id):
                        yield told
                    seq = sealed.seq
                while listener.alerts:
                    told = listener.alerts.popleft()
                    if app_id in (None, told.app_id):
                        yield told
                if len(found) < _PAGE and not await _is_woken(listener.woken, ending, heartbeat_s):
                    yield None
        finally:
            self._listeners.remove(listener)

    def _decided(self, entries: Sequence[SealedEntry]) -> None:
        for listener in self._listeners:
            listener.woken.set()
        for sealed in entries:
            for told in notifications_of(sealed, self._store.instance_id):
                self._receive(told)

    def _receive(self, told: Notification) -> None:
        for receiver in self._receivers:
            receiver(told)


async def _is_woken(woken: asyncio.Event, ending: asyncio.Event, within_s: float) -> bool:
    """Whether one of the two is set in time."""
    waits = [asyncio.ensure_future(one.wait()) for one in (woken, ending)]
    try:
        done, _ = await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for one in waits:
            one.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*waits, return_exceptions=True)
