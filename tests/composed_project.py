"""A project of the real compose program, on any engine.

It has to be 2 or newer, a plugin of `docker` or a program of its own; `tests/run.sh` brings one where Debian has a 1.x.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.machine_image import http_client

_PROGRAMS = ([str(Path(sys.executable).with_name("docker-compose"))], ["docker-compose"], ["docker", "compose"])


def compose_program() -> list[str]:
    """The first that is new enough; skips the test where there is none, everywhere: it is no service, and for Debian 12
    it comes from another release, which not every mirror has."""
    if not (found := [program for program in _PROGRAMS if _is_new_enough(program)]):
        pytest.skip("docker compose is not installed, 2 or newer")
    return found[0]


def _is_new_enough(program: list[str]) -> bool:
    if shutil.which(program[0]) is None:
        return False
    asked = subprocess.run([*program, "version", "--short"], capture_output=True, text=True, check=False)
    return re.match(r"v?([2-9]|\d\d)\.", asked.stdout) is not None


class ComposedProject:
    """`file`'s services under a name of the test's own; commands see `variables` alone of an environment."""

    def __init__(
        self, file: Path, *, name: str, folder: Path, engine_url: str = "", variables: Mapping[str, str] = {}
    ) -> None:
        self._file = file
        self._name = name
        self._engine_url = engine_url
        self._program = compose_program()
        engine = {"DOCKER_HOST": engine_url} if engine_url else {}
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **engine, **variables}

    def run(self, *words: str, beside: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Of a command whatever came of it; `beside` is a second file, whose words are put over the first one's."""
        files = ["--file", str(self._file), *(["--file", str(beside)] if beside else [])]
        line = [*self._program, "--project-name", self._name, *files, *words]
        return subprocess.run(
            line,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def must(self, *words: str, beside: Path | None = None) -> str:
        """The output of a command that succeeds."""
        done = self.run(*words, beside=beside)
        assert done.returncode == 0, (words, done.stdout[-3_000:], done.stderr[-3_000:])
        return done.stdout

    def services(self) -> dict[str, Any]:
        """As the program understands the file, with every variable filled in."""
        found: dict[str, Any] = json.loads(self.must("config", "--format", "json"))["services"]
        return found

    def up(self, *, beside: Path | None = None) -> None:
        """Returns when every container's own health check says so."""
        done = self.run("up", "--detach", "--no-build", "--wait", "--wait-timeout", "120", beside=beside)
        assert done.returncode == 0, (done.stderr[-2_000:], self.run("logs", "--tail", "50").stdout)

    def inspect(self, service: str) -> dict[str, Any]:
        """The container of a service, as the engine describes it."""
        with http_client(self._engine_url) as engine:
            answer: dict[str, Any] = engine.get(f"/containers/{self._name}-{service}-1/json").json()
        return answer

    def remove(self) -> None:
        """Containers, network and volumes."""
        self.run("down", "--volumes", "--timeout", "1")
