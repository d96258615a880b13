"""A model whose price nobody knows: what it took is shown as unknown, never as nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from unit.cli.conftest import JudgedEvolution, Run
from web.fakes import ADMIN_TOKEN, QuietEvolution, listening
from web.stores import stored_services

from uhlp.cli.output import cost
from uhlp.web.edge import open_edge


class UnpricedEvolution(JudgedEvolution):
    """What models took is known in tokens alone."""

    async def candidate(self, candidate_id: str) -> dict[str, Any]:
        return {**await super().candidate(candidate_id), "costUsd": 0.0, "tokensIn": 900, "tokensOut": 90}

    async def usage(self, app_id: str) -> dict[str, Any]:
        return _unpriced(await QuietEvolution.usage(self, app_id))

    async def savings(self, app_id: str, days: int = 7) -> dict[str, Any]:
        return _unpriced(await QuietEvolution.savings(self, app_id, days))


class FreeEvolution(UnpricedEvolution):
    """The price of every call is known: nothing."""

    async def usage(self, app_id: str) -> dict[str, Any]:
        return _unpriced(await QuietEvolution.usage(self, app_id), calls=0)

    async def savings(self, app_id: str, days: int = 7) -> dict[str, Any]:
        return _unpriced(await QuietEvolution.savings(self, app_id, days), calls=0)


@asynccontextmanager
async def serving(folder: Path, evolution: JudgedEvolution) -> AsyncIterator[dict[str, str]]:
    async with (
        stored_services(folder, evolution=evolution) as services,
        open_edge(services) as edge,
        listening(edge) as port,
    ):
        yield {"UHLP_URL": f"http://127.0.0.1:{port}", "UHLP_ADMIN_TOKEN": ADMIN_TOKEN}


@pytest.mark.parametrize(
    ("evolution", "said", "unsaid"), [(UnpricedEvolution, "no price", "$0.0"), (FreeEvolution, "$0.0000", "no price")]
)
async def test_what_has_no_price_is_never_shown_as_nothing_nor_what_is_free_as_unknown(
    uhlp: Run, tmp_path: Path, evolution: type[JudgedEvolution], said: str, unsaid: str
) -> None:
    await uhlp("init", "shop")
    async with serving(tmp_path / "data", evolution()) as server:
        await uhlp("apply", "shop", **server)
        shown = await asyncio.gather(*(
            uhlp(*words, **server) for words in (("usage", "shop"), ("savings", "shop"), ("show", "cand-1"))
        ))  # fmt: skip
    for done in shown:
        assert done.err == ""
        assert said in done.out
        assert unsaid not in done.out


@pytest.mark.parametrize(
    ("usd", "tokens", "shown"),
    [
        (None, 10, None),
        (0.0, 10, "no price"),
        (0.0, 0, "$0.0000"),
        (0.25, 10, "$0.2500"),
        (0.000029, 116, "$0.00003"),
        (1_234.5, 1, "$1,234.5000"),
    ],
)
def test_tokens_that_cost_nothing_have_no_known_price(usd: float | None, tokens: int, shown: str | None) -> None:
    assert cost(usd, tokens=tokens) == shown


def _unpriced(value: Any, calls: int = 3) -> Any:
    """The same with nothing in dollars, and so many calls that have no price."""
    if isinstance(value, list):
        return [_unpriced(one, calls) for one in value]
    if not isinstance(value, dict):
        return value
    none = {"usd": 0.0, "unpricedRequests": calls, "unpricedCalls": calls}
    return {name: none.get(name, _unpriced(one, calls)) for name, one in value.items()}
