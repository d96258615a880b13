"""What hostile handlers leave in a sandbox and on their stream, frame by frame; `tests/hostile` holds the programs.

The target has its own worker. A neighbour in the same sandbox and a worker of another application answer afterwards.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from raw_runner import Closed, RawRunner, isolated_driver, new_data_dir, raw_runner, spec

from uhlp.sandbox.drivers.marked_processes import marked_processes
from uhlp.sandbox.drivers.process import ProcessDriver, ProcessSandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = "def handle(inputs, context):\n    return inputs\n"


@dataclass
class Town:
    """A sandbox under attack, and those who live beside it."""

    driver: ProcessDriver
    data_dir: Path
    sandbox: ProcessSandbox
    neighbour: RawRunner
    stranger: RawRunner

    async def is_unharmed(self) -> bool:
        """Neighbour and stranger answer, and the sandbox starts workers."""
        newcomer = await raw_runner(self.sandbox)
        answers = [await runner.run(ECHO, {"n": 1}) for runner in (self.neighbour, self.stranger, newcomer)]
        await newcomer.worker.kill()
        newcomer.worker.endpoint.close()
        return [answer["data"] for answer in answers] == [{"n": 1}] * 3

    def processes(self) -> int:
        return len(list(marked_processes(self.driver.instance)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    data_dir = new_data_dir(tmp_path_factory)
    driver = await isolated_driver(data_dir)
    sandbox = await driver.start(spec(memory="64M"))
    other = await driver.start(spec("desk"))
    yield Town(driver, data_dir, sandbox, await raw_runner(sandbox), await raw_runner(other))
    await driver.close()


@pytest_asyncio.fixture(loop_scope="module")
async def target(town: Town) -> AsyncIterator[RawRunner]:
    before = town.processes()
    runner = await raw_runner(town.sandbox)
    yield runner
    await runner.worker.kill()
    runner.worker.endpoint.close()
    assert await town.is_unharmed()
    assert town.processes() == before


def handler(*lines: str) -> str:
    """A handler with this body."""
    return "import os, sys, ctypes\ndef handle(inputs, context):\n" + "".join(f"    {line}\n" for line in lines)


async def test_a_worker_may_end_itself(target: RawRunner) -> None:
    with pytest.raises(Closed):
        await target.run(handler("os.kill(os.getpid(), 9)"))


async def test_a_memory_bomb_is_told_that_memory_is_out(target: RawRunner) -> None:
    source = handler("kept = []", "while True: kept.append(bytearray(1 << 20))")
    answer = await target.run(source)
    assert answer["data"]["code"] == "SANDBOX_OUT_OF_MEMORY"
    with pytest.raises(Closed):  # a worker that ran out of memory answers and ends
        await target.receive()


async def test_the_disk_of_a_sandbox_is_small_and_emptied_behind_the_worker(town: Town, target: RawRunner) -> None:
    fill = handler(
        "try:",
        "    for n in range(9999):",
        "        with open(f'{n}', 'wb') as f: f.write(b'x' * (8 << 20))",
        "except OSError as e: return [n, str(e)]",
    )
    files, message = (await target.run(fill))["data"]
    assert files <= 8
    assert "No space left" in message
    await target.worker.kill()
    free = handler("room = os.statvfs('/tmp')", "return room.f_bavail * room.f_frsize")
    assert (await town.neighbour.run(free))["data"] > 60 << 20


async def test_a_million_empty_files_and_a_bottomless_folder_stop_early(town: Town, target: RawRunner) -> None:
    source = handler(
        "made, own = 0, os.getcwd()",
        "try:",
        "    for _ in range(1000):",
        "        os.mkdir('deeper'); os.chdir('deeper'); made += 1",
        "    for n in range(10 ** 6):",
        "        open(f'{own}/f{n}', 'w').close(); made += 1",
        "except OSError: os.chmod('.', 0); return made",
    )
    assert (await target.run(source))["data"] <= 4096
    newcomer = await raw_runner(town.sandbox)  # a worker starts although it can have no folder
    assert (await newcomer.run(ECHO, {"n": 1}))["data"] == {"n": 1}
    await newcomer.worker.kill()
    newcomer.worker.endpoint.close()
    await target.worker.kill()
    assert (await town.neighbour.run(handler("return os.statvfs('/tmp').f_ffree")))["data"] > 4000


async def test_a_neighbours_files_cannot_be_reached(town: Town, target: RawRunner) -> None:
    await town.neighbour.run(handler("os.mkdir('mine')", "open('mine/secret', 'w').write('secret')", "return 1"))
    folder = (await town.neighbour.run(handler("return os.getcwd()")))["data"]
    attack = (
        "import os\n"
        "def handle(i, c):\n"
        "    at = i['at']\n"
        "    steps = [\n"
        "        lambda: os.listdir('/tmp'), lambda: os.listdir(at), lambda: open(at + '/mine/secret').read(),\n"
        "        lambda: open(at + '/mine/secret', 'w'), lambda: open(at + '/mine/new', 'w'),\n"
        "        lambda: os.unlink(at + '/mine/secret'), lambda: os.mkdir('/tmp/w99'),\n"
        "        lambda: os.mkdir(at + '/x'), lambda: os.rename(at, '/tmp/moved'),\n"
        "        lambda: os.rename(at + '/mine/secret', 'stolen'), lambda: os.link(at + '/mine/secret', 'stolen'),\n"
        "        lambda: os.truncate(at + '/mine/secret', 0), lambda: os.symlink('/etc', at + '/link'),\n"
        "        lambda: open('/proc/self/cwd/../' + os.path.basename(at) + '/mine/secret').read(),\n"
        "    ]\n"
        "    done = []\n"
        "    for number, step in enumerate(steps):\n"
        "        try:\n"
        "            step()\n"
        "        except OSError:\n"
        "            continue\n"
        "        done.append(number)\n"
        "    with open('own', 'w') as file: file.write('own')\n"
        "    os.mkdir('deep'); os.rename('own', 'deep/own')\n"
        "    return [done, open('deep/own').read()]\n"
    )
    assert (await target.run(attack, {"at": folder}))["data"] == [[], "own"]
    kept = handler("return open('mine/secret').read()")
    assert (await town.neighbour.run(kept))["data"] == "secret"


async def test_privileges_cannot_be_regained(target: RawRunner) -> None:
    source = handler(
        "status = open('/proc/thread-self/status').read() if os.access('/proc/thread-self/status', 4) else ''",
        "try: os.setuid(0)",
        "except OSError: return status",
    )
    status = (await target.run(source))["data"]
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp_filters"] == "2"


async def test_a_flood_of_output_is_cut(target: RawRunner) -> None:
    answer = await target.run(handler("for _ in range(50_000): print('x' * 1000)", "return 1"))
    assert answer["data"] == 1
    assert sum(len(log["message"]) for log in target.logs) < 66 * 1024


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("print('\\ud800'); return 1", 1),
        ("raise ValueError('\\ud800')", "HANDLER_FAILED"),
        ("raise uhlp_runtime.Deoptimize('\\ud800')", {"reason": "?"}),
        ("raise uhlp_runtime.ToolFailed('\\ud800', object())", "?"),
        ("uhlp_runtime.call_tool('t', {'a': '\\ud800'})", "BAD_REQUEST"),
        ("uhlp_runtime.call_tool('t', {'a': 'x' * 17_000_000})", "BAD_REQUEST"),
        ("uhlp_runtime.call_tool('t', {'a': [[[]] * 1_000] * 3_400})", "BAD_REQUEST"),
    ],
)
async def test_words_that_cannot_be_sent_are_answered_and_the_worker_lives(
    target: RawRunner, body: str, outcome: object
) -> None:
    data = (await target.run("import uhlp_runtime\n" + handler(body)))["data"]
    assert (data["code"] if isinstance(outcome, str) else data) == outcome
    assert (await target.run(ECHO, {"n": 1}))["data"] == {"n": 1}


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("[1] * 100_000", 100_000),
        ("{str(n): n for n in range(50_000)}", 50_000),
        ("list(range(100_001))", "OUTPUT_INVALID"),
        ("[[[]] * 1_000] * 3_400", "OUTPUT_INVALID"),
        ("[{}] * 1_000_000", "OUTPUT_INVALID"),
        ("{str(n): n for n in range(300_000)}", "OUTPUT_INVALID"),
        ("'1,2,[3],{4}\\n' * 200_000", 2_400_000),
        ("'x' * 3_000_000", 3_000_000),
        ("'x' * 9_000_000", "SANDBOX_OUT_OF_MEMORY"),
        ("['x' * 1_000_000] * 1_000", "OUTPUT_INVALID"),
        ("[1] * 6_000_000", "OUTPUT_INVALID"),
    ],
)
async def test_a_result_too_large_to_be_written_is_answered(
    target: RawRunner, expression: str, outcome: object
) -> None:
    data = (await target.run(handler(f"return {expression}")))["data"]
    assert (len(data) if isinstance(outcome, int) else data["code"]) == outcome
