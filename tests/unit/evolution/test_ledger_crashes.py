"""kill -9 between any two steps of an append, and at any moment of a storm of them."""

import asyncio
import json
import os
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from random import Random

from tests.unit.evolution import crashing_ledger
from uhlp.evolution.database import EvolutionDatabase

PROGRAM = [sys.executable, "-m", "tests.unit.evolution.crashing_ledger"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path.cwd())}


def test_a_kill_at_any_step_leaves_every_acknowledged_decision_and_no_half_of_another(tmp_path: Path) -> None:
    done = subprocess.run([*PROGRAM, "steps", str(tmp_path)], env=ENVIRONMENT, capture_output=True, check=True)
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    whole = list(accumulate([len(changes) for changes in crashing_ledger.decisions()], initial=0))
    for run in runs:
        assert run["ok"], run
        assert run["problems"] == [], run
        assert run["entries"] in whole, f"half a transaction: {run}"
        assert run["entries"] >= run["acknowledged"], run
        is_between = run["killed"] and run["step"] == "committed"
        assert is_between or run["entries"] == run["acknowledged"], run
        assert run["has_payload"] == (run["entries"] >= 2), run
        assert run["regressions"] == (1 if run["entries"] >= 4 else 0), run
    assert {run["step"] for run in runs} == {
        "begun", "entry written", "candidate written", "server state written", "payloads written", "regression written",
        "fence passed", "committed",
    }  # fmt: skip
    assert [run["killed"] for run in runs] == [True] * (len(runs) - 1) + [False]
    assert runs[-1]["entries"] == whole[-1]


async def test_a_kill_at_any_moment_loses_no_acknowledged_decision(tmp_path: Path) -> None:
    path, random, acknowledged = tmp_path / "evolution.db", Random(11), 0
    for _ in range(6):
        program = await asyncio.create_subprocess_exec(
            *PROGRAM, "storm", str(path), env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE
        )
        assert program.stdout is not None
        for _ in range(random.randrange(1, 40)):
            acknowledged = int(await asyncio.wait_for(program.stdout.readline(), 30))
        program.kill()
        rest = (await program.communicate())[0].splitlines(keepends=True)
        whole = [int(line) for line in rest if line.endswith(b"\n")]
        acknowledged = max([acknowledged, *whole])
        left = EvolutionDatabase(path)
        left.open()
        report = left.verify(None)
        assert report.ok, report
        assert report.entries >= acknowledged
        assert left.check_fold() == []
        left.close()
