"""Whether sandboxes that are processes get walls here."""

import os
import shutil
import subprocess
from functools import cache

import pytest

_LINE = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]


def need_walls() -> None:
    """Skip the test where bubblewrap is not installed or does not work; fail it where everything must be."""
    if why_not := _why_not():
        give_up = pytest.fail if os.environ.get("UHLP_REQUIRE_SERVICES") == "1" else pytest.skip
        give_up(why_not)


@cache
def _why_not() -> str:
    """Empty where it works. Some kernels (Ubuntu's, a container's) let an ordinary user make no name spaces."""
    if shutil.which(_LINE[0]) is None:
        return "bubblewrap is not installed"
    tried = subprocess.run(_LINE, capture_output=True, text=True)
    return f"bubblewrap does not work here: {tried.stderr.strip()}" if tried.returncode else ""
