"""Ctrl-C, a reader that goes away, and what a terminal alone is shown."""

import asyncio
import json
import os
import pty
import signal
from pathlib import Path

import pytest

from cli.conftest import Run, begun
from uhlp.clock import FakeClock
from uhlp.evolution.store import EvolutionStore

WITHIN_S = 30.0


async def test_ctrl_c_ends_a_command_that_waits_for_its_server(tmp_path: Path) -> None:
    is_asked = asyncio.Event()

    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        is_asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(never_answers, "127.0.0.1", 0) as silent:
        place = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        async with begun(tmp_path, "status", UHLP_URL=place, UHLP_ADMIN_TOKEN="x") as waiting:
            async with asyncio.timeout(WITHIN_S):
                await is_asked.wait()
                waiting.send_signal(signal.SIGINT)
                out, err = await waiting.communicate()
    assert (waiting.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("words", [("metrics",), ("metrics", "--json"), ("ledger", "export", "--data-dir", ".")])
async def test_a_reader_that_has_seen_enough_is_no_error_to_be_shown(tmp_path: Path, words: tuple[str, ...]) -> None:
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=FakeClock()) as store:
        await store.pause(actor="ann", reason="holiday")
    reads, writes = os.pipe()
    os.close(reads)
    try:
        async with begun(tmp_path, *words, stdout=writes) as writing, asyncio.timeout(WITHIN_S):
            _, err = await writing.communicate()
    finally:
        os.close(writes)
    assert (writing.returncode, err) == (1, b"")


async def test_progress_is_shown_in_a_terminal_alone_and_never_beside_json(uhlp: Run, tmp_path: Path) -> None:
    rows = [{"input": {"text": f"invoice {number} charged"}, "output": "billing"} for number in range(40)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert (await uhlp("estimate", "log.jsonl")).err == ""

    async def seen(*words: str) -> str:
        """What a person sees on standard error."""
        shown, terminal = pty.openpty()
        try:
            async with begun(tmp_path, *words, stderr=terminal, TERM="xterm") as process, asyncio.timeout(WITHIN_S):
                await process.communicate()
            os.set_blocking(shown, False)
            try:
                return os.read(shown, 65_536).decode()
            except BlockingIOError:
                return ""
        finally:
            os.close(terminal)
            os.close(shown)

    assert "learning rules from 40 calls" in await seen("estimate", "log.jsonl")
    assert await seen("estimate", "log.jsonl", "--json") == ""
