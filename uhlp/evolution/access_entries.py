"""AccessEntries: who may act is part of the history of decisions."""

from uhlp.access.administrator import Administrator
from uhlp.clock import Clock
from uhlp.evolution.ledger import Event, LedgerEntry
from uhlp.evolution.store import EvolutionStore


class AccessEntries:
    """Writes to the ledger that a token was made or deleted; of the token itself it holds nothing."""

    def __init__(self, *, store: EvolutionStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def write(self, *, actor: str, reason: str, token: Administrator) -> int:
        """The entry's number. A server may change its own tokens whether or not it leads."""
        about = {"tokenId": token.token_id, "name": token.name, "role": str(token.role)}
        entry = LedgerEntry(ts=self._clock.now(), actor=actor, event=Event.ACCESS, reason=reason, evidence=about)
        return await self._store.append(entry)
