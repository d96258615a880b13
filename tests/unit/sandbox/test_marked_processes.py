"""What a server that died left behind, seen by the next one of a user that may not end everything."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from uhlp.sandbox.drivers.marked_processes import MARK, marked_processes

ANOTHER_USER = 61_998
INSTANCE = f"test{os.getpid()}"
# the interpreter may be readable for root alone, so the change of user comes last
_AS_ANOTHER_USER = """
import os, sys
from uhlp.sandbox.drivers.marked_processes import end_orphans
uid, instance = int(sys.argv[1]), sys.argv[2]
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
end_orphans(instance)
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process that carries the mark of this test's server."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(name: str, *, user: int) -> "subprocess.Popen[bytes]":
        line = ["/bin/sh", "-c", "read forever", f"{MARK}{INSTANCE}.{name}"]
        started.append(subprocess.Popen(line, stdin=subprocess.PIPE, user=user, cwd="/", env={}))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def test_processes_of_another_user_are_left_and_said_once_and_our_own_are_ended(start: Start) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start processes of two users")
    others = [start(name, user=os.geteuid()) for name in ("first", "second")]
    own = start("third", user=ANOTHER_USER)
    assert len(list(marked_processes(INSTANCE))) == 3
    line = [sys.executable, "-c", _AS_ANOTHER_USER, str(ANOTHER_USER), INSTANCE]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("orphans_of_another_user_left") == 1
    assert own.wait(10) == -9
    assert [process.poll() for process in others] == [None, None]
