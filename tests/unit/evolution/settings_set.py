"""Settings set at run time, straight into the ledger: decisions that need no candidate."""

from typing import Any

from uhlp.evolution.ledger import Event, LedgerEntry
from uhlp.evolution.store import EvolutionStore


async def put_setting(store: EvolutionStore, name: str, value: Any, *, actor: str, reason: str, ts: float = 1.0) -> int:
    """Set an override, or remove it with None."""
    patch = {"name": name, "value": value}
    return await store.append(LedgerEntry(ts=ts, actor=actor, event=Event.SETTING, reason=reason, patch=patch))
