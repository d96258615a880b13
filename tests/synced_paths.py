"""What a program brings to the disk, and when, as the kernel is asked for it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

_CALLS = "trace=fsync,rename,renameat,renameat2,write"


def system_calls(code: str, argument: Path, trace: Path) -> list[str]:
    """Run Python code with `sys.argv[1]`; the lines of its writes, renames and syncs, with the paths. Skips the test
    where nothing can be traced, and fails it where everything must be."""
    if why_not := _why_not():
        give_up = pytest.fail if os.environ.get("UHLP_REQUIRE_SERVICES") == "1" else pytest.skip
        give_up(why_not)
    command = ["strace", "-f", "-y", "-e", _CALLS, "-o", str(trace), sys.executable, "-c", code, str(argument)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": "."}, timeout=120)
    return trace.read_text().splitlines()


def synced(lines: Iterable[str]) -> set[str]:
    """The paths that were synced in these lines."""
    return {found[1] for line in lines if (found := re.search(r"fsync\(\d+<([^>]+)>", line))}


@cache
def _why_not() -> str:
    """Empty where it works."""
    program = shutil.which("strace")
    if program is None:
        return "strace is not installed"
    tried = subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True)
    return "this machine lets no process trace another" if tried.returncode else ""
