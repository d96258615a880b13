"""Ledger anchors: the ledger's head, kept in the applications' repositories, so that a shortened ledger is found."""

from dataclasses import asdict
from typing import Any

import orjson
import structlog

from uhlp.errors import UhlpError
from uhlp.evolution.store import EvolutionStore
from uhlp.state.state_manager import StateManager
from uhlp.strict_json import loads

log = structlog.get_logger(__name__)

ANCHOR_REF = "refs/uhlp/ledger"
_FILE = "head.json"


class LedgerAnchors:
    """Writes and reads `refs/uhlp/ledger`: {"seq", "hash"} of the ledger's head at that time."""

    def __init__(self, *, store: EvolutionStore, state_manager: StateManager) -> None:
        self._store = store
        self._state = state_manager

    async def anchor(self, app_id: str) -> None:
        """Keep the present head in this application's repository. An anchor that cannot be written is logged."""
        seq, head = await self._store.head()
        try:
            content = orjson.dumps({"seq": seq, "hash": head})
            await self._state.put_ref_tree(app_id, ANCHOR_REF, {_FILE: content}, f"Ledger entry {seq}: {head}")
        except UhlpError as error:
            log.warning("anchor_not_written", app_id=app_id, why=error.message)

    async def run_cycle(self) -> None:
        """Anchor in every repository, once an hour, where the ledger has grown since."""
        seq, _ = await self._store.head()
        newest = await self.newest()
        if seq and (newest is None or newest[0] < seq):
            for app_id in await self._state.list_repositories():
                await self.anchor(app_id)

    async def newest(self) -> tuple[int, str] | None:
        """The anchor with the highest seq over all applications; None when there is none."""
        found: list[tuple[int, str]] = []
        for app_id in await self._state.list_repositories():
            try:
                files = await self._state.read_ref_tree(app_id, ANCHOR_REF)
                if files is not None:
                    value = loads(files[_FILE])
                    found.append((int(value["seq"]), str(value["hash"])))
            except (UhlpError, KeyError, ValueError, TypeError) as error:
                log.warning("anchor_not_readable", app_id=app_id, why=str(error))
        return max(found, default=None)


async def verified_ledger(store: EvolutionStore, anchors: LedgerAnchors) -> dict[str, Any]:
    """{ok, entries, head, firstBad, problems}: the chain recomputed, against the anchors and the candidates' rows."""
    report = await store.verify(await anchors.newest())
    problems = await store.check_fold() if report.ok else []
    return {
        "ok": report.ok and not problems,
        "entries": report.entries,
        "head": report.head,
        "firstBad": asdict(report.first_bad) if report.first_bad else None,
        "problems": [asdict(problem) for problem in problems],
    }
