"""`uhlp candidates` page by page: how older ones are come by."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from unit.cli.conftest import Run
from web.fakes import ADMIN_TOKEN, QuietEvolution, listening
from web.stores import stored_services

from uhlp.evolution.candidate_page import CandidatePage
from uhlp.web.edge import open_edge

NEWEST_FIRST = ("c-3", "c-2", "c-1")


class ThreeCandidates(QuietEvolution):
    """Candidates of which the newest is c-3."""

    async def candidates(
        self, app_id: str | None = None, state: str | None = None, *, component_id: str | None = None,
        limit: int = 100, after: str | None = None,
    ) -> CandidatePage:  # fmt: skip
        older = NEWEST_FIRST[NEWEST_FIRST.index(after) + 1 if after else 0 :]
        page = older[:limit]
        rows = [{"candidateId": one, "appId": "shop", "componentId": "echo", "state": "promoted"} for one in page]
        return CandidatePage([orjson.dumps(one) for one in rows], page[-1] if len(older) > limit else None)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    async with (
        stored_services(tmp_path / "data", evolution=ThreeCandidates()) as services,
        open_edge(services) as edge,
        listening(edge) as port,
    ):
        yield {"UHLP_URL": f"http://127.0.0.1:{port}", "UHLP_ADMIN_TOKEN": ADMIN_TOKEN}


async def test_where_there_are_older_ones_it_is_said_how_they_are_shown(uhlp: Run, server: dict[str, str]) -> None:
    newest = await uhlp("candidates", "--limit", "2", **server)
    assert ("c-3" in newest.out, "c-1" in newest.out) == (True, False)
    assert newest.out.splitlines()[-1] == "Older ones: the same with --after c-2"
    older = await uhlp("candidates", "--limit", "2", "--after", "c-2", **server)
    assert ("c-1" in older.out, "c-2" in older.out, "Older" in older.out) == (True, False, False)
    none = await uhlp("candidates", "--after", "c-1", **server)
    assert none.out.strip() == "There are no older ones."
