"""An optimisation whose worker is killed in every step, one after the other, ends as if nothing had happened."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.contracts.test_mailbox import server, until_up
from tests.unit.optimization.compress_world import APP
from tests.unit.optimization.optimize_process import Stores, asked_for
from uhlp.mailbox.message_queue import MailboxCounts
from uhlp.optimization.compress import OptimizeRuns
from uhlp.optimization.compress.optimize_run import Step

__all__ = ["server"]

DEATHS = (Step.BASELINE, Step.PROPOSE, Step.SCREEN, Step.CONFIRM, Step.COMBINE, Step.DONE)
BOUND_S = 120


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=pytest.mark.long)])
async def test_f_a_worker_that_is_killed_in_every_step_loses_none_and_answers_once(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    store = str(tmp_path) if kind == "sqlite" else request.getfixturevalue("server").url
    log = tmp_path / "log"
    async with AsyncExitStack() as stack:
        stores = Stores(store, stack)
        if stores.client is not None:
            await until_up(stores.client)
        runs = OptimizeRuns(values=stores.values)
        await stores.requests.send(asked_for(), reply_to="reply:tests")
        for step in DEATHS:
            assert await worked(log, store, step) == -signal.SIGKILL
            kept = await runs.get("once")
            assert kept.step == step or (kept.step, step) == (Step.QUEUED, Step.BASELINE)
        assert await worked(log, store) == 0
        assert await stores.requests.counts() == MailboxCounts(0, 0, 0, 0)
        replies = await stores.replies.receive(max_messages=10)
        report = (await runs.get("once")).result
        assert [one.body for one in replies] == [report]
        assert report is not None
        assert report.report.verdict == "shorter"
        assert [one.tag for one in await stores.overrides.list(ns=APP) if one.is_temporary] == []
    assert log.read_text().splitlines() == ["proposed"]  # what is kept is not proposed again


async def worked(log: Path, store: str, dies_in: str = "") -> int:
    """How a worker ended."""
    module = "tests.unit.optimization.optimize_process"
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, str(log), store, dies_in)
    try:
        async with asyncio.timeout(BOUND_S):
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
