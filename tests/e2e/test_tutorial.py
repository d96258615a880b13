"""The README's "Ten minutes": its commands, taken from the page and run in order, say what the page shows.

They are the page's own but for ports and numbers: fewer tickets, a quicker model, shorter steps.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.server import CHECKOUT, NOT_OURS, free_port, need
from tests.walls import need_walls

_MARK = "=end-of-command="
_ANYTHING = "…"
_ENDED_WITHIN_S = 400.0
"""A server that hangs ends the test; a machine that is busy with others does not."""
_ROUNDS = 4
"""How often the loop of the page may be typed until the candidate is promoted: a busy machine needs more than one."""


def steps_of(page: str) -> list[tuple[str, list[str]]]:
    """Commands of the section in order, each with the lines that it prints; those of a script print nothing."""
    section = page.partition("\n## Ten minutes\n")[2].partition("\n## ")[0]
    steps: list[tuple[str, list[str]]] = []
    for kind, block in re.findall(r"```(console|sh)\n(.*?)```", section, re.DOTALL):
        if kind == "sh":
            steps.append((block, []))
            continue
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            elif steps[-1][0].endswith("\\"):
                steps[-1] = (f"{steps[-1][0]}\n{line}", [])
            else:
                steps[-1][1].append(line)
    return steps


def shape(line: str) -> str:
    """The line without what differs from run to run: ids, counts, figures, and how wide a column is for them."""
    without_ids = re.sub(r"\b(?:c-)?[0-9a-f]{10,}\b", "ID", line)
    return " ".join(re.sub(r"\d+(?:\.\d+)?", "0", without_ids).split())


def is_shown(told: list[str], shown: list[str]) -> bool:
    """Whether what was told has the shapes shown; a line of … stands for any lines."""
    if not shown:
        return not told
    if shown[0].strip() == _ANYTHING:
        return any(is_shown(told[skipped:], shown[1:]) for skipped in range(len(told) + 1))
    return bool(told) and shape(told[0]) == shape(shown[0]) and is_shown(told[1:], shown[1:])


class Shell:
    """One shell, typed into command by command as a reader does."""

    def __init__(self, folder: Path, model_port: int, server_port: int) -> None:
        programs = folder / "bin"
        programs.mkdir()
        program = programs / "uhlp"
        program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m uhlp "$@"\n')
        program.chmod(0o755)
        (folder / ".curlrc").write_text("silent\n")  # it shows its progress to who is no terminal
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
        self.url = f"http://127.0.0.1:{server_port}"
        self._said_otherwise = {
            "uhlp simulate-model": f"uhlp simulate-model --latency-ms 100 --port {model_port} > model.log",
            "127.0.0.1:8099": f"127.0.0.1:{model_port}",
            "uhlp serve": f"uhlp serve --port {server_port}",
            "127.0.0.1:8080": f"127.0.0.1:{server_port}",
            "CYCLE_S=2": "CYCLE_S=0.5",
            "MIN_STEP_S=5": "MIN_STEP_S=1 UHLP_EVOLUTION__CANARY__MIN_EXECUTIONS=3",
            "${1:-400}": "${1:-150}",
        }
        self.model_url = f"http://127.0.0.1:{model_port}/v1/models"
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={
                **inherited,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "UHLP_URL": self.url,
                "COLUMNS": "120",
                "HOME": str(folder),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def types(self, command: str) -> list[str]:
        """The lines that the command prints, without empty ones."""
        for page, here in self._said_otherwise.items():
            command = command.replace(page, here)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\necho; echo {_MARK}\n")
        self._shell.stdin.flush()
        told = []
        for line in self._shell.stdout:
            if line.startswith(_MARK):
                break
            told.append(line.rstrip("\r\n"))
        return [line for line in told if line.strip()]

    def kill(self) -> None:
        """The shell's output ends, and with it the test, which then fails."""
        self._shell.kill()

    def leave(self) -> None:
        """End what runs in the background, the server first, and wait for it."""
        assert self._shell.stdin is not None
        with suppress(BrokenPipeError):
            self._shell.stdin.write("kill %2; wait %2; kill %1; wait %1\n")
            self._shell.stdin.close()
        self._shell.wait(40)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    need_walls()
    need("curl")
    shell = Shell(tmp_path, free_port(), free_port())
    hung = threading.Timer(_ENDED_WITHIN_S, shell.kill)
    hung.start()
    try:
        yield shell
    finally:
        shell.leave()
        hung.cancel()


def test_the_ten_minutes_of_the_readme_go_as_told(shell: Shell) -> None:
    steps = steps_of((CHECKOUT / "README.md").read_text(encoding="utf-8"))
    assert len(steps) > 12, steps
    ours = theirs = ""
    for command, shown in steps:
        told = shell.types(command.replace(theirs, ours) if theirs else command)
        if "simulate-model" in command:
            shell.types(f"curl -sf --retry 30 --retry-connrefused --retry-delay 1 {shell.model_url} > models.json")
        if command.startswith("uhlp optimize"):
            ours, theirs = told[0], shown[0]
            assert shape(ours) == shape(theirs) == "ID"
        if not command.startswith("for "):
            assert is_shown(told, shown), (command, told, shown)
            continue
        promoted = [_ANYTHING, *shown[-4:]]
        for _ in range(_ROUNDS - 1):
            if not is_shown(told, promoted):
                told += shell.types(command)
        assert is_shown(told, promoted), (told, shown)
        assert {shape(line) for line in shown if "my-app" in line} <= {shape(line) for line in told}
