"""A process killed in a storm of commits leaves a repository that git accepts."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from uhlp.state.definition_store import DefinitionStore

STORM = """
import asyncio, sys
from pathlib import Path
from uhlp.state.definition_store import DefinitionStore

async def storm():
    store = DefinitionStore(Path(sys.argv[1]))
    await store.create("desk")
    number = 0
    while True:
        number += 1
        files = {f"d{number % 7}/{name}": f"{number}".encode() for name in "abc"}
        print(await store.commit("desk", files, store.note(f"commit {number}", None)), flush=True)

asyncio.run(storm())
"""


@pytest.mark.parametrize("acknowledged", [1, 2, 5, 9])
async def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, acknowledged: int):
    storm = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STORM,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert storm.stdout is not None
    async with asyncio.timeout(30):
        for _ in range(acknowledged):
            last = (await storm.stdout.readline()).decode().strip()
        storm.send_signal(signal.SIGKILL)
        await storm.wait()
    rest = (await storm.stdout.read()).decode().split()
    last = rest[-1] if rest and len(rest[-1]) == 40 else last

    store = DefinitionStore(tmp_path)
    await store.commit("desk", {"after": b"x"}, store.note("after", None))
    assert last in [commit.revision for commit in await store.history("desk", None, 1000)]
    checked = await asyncio.to_thread(
        subprocess.run, ["git", "-C", str(tmp_path / "desk.git"), "fsck", "--strict"], capture_output=True, check=True
    )
    assert b"error" not in checked.stderr
    assert list((tmp_path / "desk.git").rglob("*.lock")) == []
