"""What a server runs on leaves nothing behind when it ends, whatever is under way."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.applications import BILLING
from tests.e2e.model import Model

LIVES = 3


def test_no_task_thread_descriptor_or_process_outlives_evaluations_and_optimisations(
    tmp_path: Path, model: Model
) -> None:
    model.says(BILLING, times=2_000)
    environment = {
        **os.environ,
        **model.environment,
        "UHLP_DATA_DIR": str(tmp_path / "data"),
        "UHLP_SANDBOX__DRIVER": "process",
        "UHLP_LOG__LEVEL": "error",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "tests.e2e.left_behind", str(LIVES)],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lives = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert len(lives) == LIVES
    assert [(one["tasks"], one["children"]) for one in lives] == [([], [])] * LIVES
    _, second, *others = lives  # the first life loads what stays loaded
    assert [one["threads"] for one in others] == [second["threads"]] * len(others)
    assert max(one["descriptors"] for one in others) <= second["descriptors"]
