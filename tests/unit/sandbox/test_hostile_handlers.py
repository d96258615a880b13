"""Handlers that attack: each ends in the outcome written here, and everybody else goes on.

The target has its own worker. A neighbour in the same sandbox and a worker of another application answer afterwards.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from raw_runner import Closed, Json, RawRunner, isolated_driver, new_data_dir, raw_runner, request, spec

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
        return len(list(self.driver._marked()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    data_dir = new_data_dir(tmp_path_factory)
    (data_dir / "admin_token").write_text("open sesame")
    os.environ["UHLP_ADMIN_TOKEN"] = "open sesame"
    driver = await isolated_driver(data_dir)
    sandbox = await driver.start(spec(memory="64M"))
    other = await driver.start(spec("desk"))
    yield Town(driver, data_dir, sandbox, await raw_runner(sandbox), await raw_runner(other))
    await driver.close()
    del os.environ["UHLP_ADMIN_TOKEN"]


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


async def refusal(target: RawRunner, source: str, inputs: Json | None = None) -> str:
    """The message of the exception that the handler ran into."""
    answer = await target.run(source, inputs)
    assert (answer["resultType"], answer["data"]["code"]) == ("error", "HANDLER_FAILED"), answer
    return answer["data"]["message"]


# -- processes


async def test_a_fork_bomb_cannot_fork_once(target: RawRunner) -> None:
    assert (await refusal(target, handler("while True: os.fork()"))).startswith("PermissionError")


async def test_a_daemon_that_forks_twice_and_leaves_its_session_is_never_born(target: RawRunner) -> None:
    source = handler("try: os.setsid()", "except PermissionError: pass", "if os.fork() == 0: os.setsid()")
    assert (await refusal(target, source)).startswith("PermissionError")


async def test_a_child_through_raw_system_calls_is_refused(target: RawRunner) -> None:
    numbers = {"x86_64": (57, 58, 56), "aarch64": (220,)}[os.uname().machine]
    source = handler(
        "libc = ctypes.CDLL(None, use_errno=True)",
        f"return [[libc.syscall(n, 0, 0, 0, 0, 0), ctypes.get_errno()] for n in {numbers}]",
    )
    assert (await target.run(source))["data"] == [[-1, 1]] * len(numbers)


async def test_a_program_cannot_be_started(target: RawRunner) -> None:
    assert "PermissionError" in await refusal(target, handler("os.execv(sys.executable, ['python'])"))
    source = handler("import subprocess", "subprocess.run([sys.executable, '-c', 'pass'])")
    assert "PermissionError" in await refusal(target, source)


async def test_a_thread_bomb_stops_at_its_limit(target: RawRunner) -> None:
    source = handler(
        "import threading, time",
        "while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    )
    answer = await target.run(source)
    assert answer["data"]["code"] in ("HANDLER_FAILED", "SANDBOX_OUT_OF_MEMORY")


async def test_an_endless_loop_ends_by_kill(target: RawRunner) -> None:
    source = handler("while True: pass")
    await target.put(source)
    await target.send({"jsonrpc": "2.0", "id": 1, "method": "execute", "params": request(source)})
    assert await asyncio.wait_for(target.worker.kill(), 5) == "killed"
    with pytest.raises(Closed):
        await target.receive()


async def test_an_endless_loop_in_c_that_ignores_signals_ends_by_kill(target: RawRunner) -> None:
    source = handler("import signal, re", "signal.signal(15, signal.SIG_IGN)", "re.match('(a+)+$', 'a' * 64 + 'b')")
    await target.put(source)
    await target.send({"jsonrpc": "2.0", "id": 1, "method": "execute", "params": request(source)})
    assert await asyncio.wait_for(target.worker.kill(), 5) == "killed"


async def test_leaving_at_once_ends_only_the_worker(target: RawRunner) -> None:
    with pytest.raises(Closed):
        await target.run(handler("os._exit(0)"))
    assert await asyncio.wait_for(asyncio.shield(target.worker.ended), 5) == "exited"


# -- signals


@pytest.mark.parametrize("pid", ["-1", "0", "1", "os.getppid()", "os.getpid() - 1"])
async def test_nobody_else_can_be_signalled(target: RawRunner, pid: str) -> None:
    assert (await refusal(target, handler(f"os.kill({pid}, 9)"))).startswith("PermissionError")


async def test_a_worker_may_end_itself(target: RawRunner) -> None:
    with pytest.raises(Closed):
        await target.run(handler("os.kill(os.getpid(), 9)"))


async def test_back_doors_to_signals_and_limits_of_others_are_shut(target: RawRunner) -> None:
    source = handler(
        "import fcntl, resource, signal",
        "r, w = os.pipe()",
        "doors = [",
        "    lambda: fcntl.fcntl(r, fcntl.F_SETOWN, 1),",
        "    lambda: fcntl.fcntl(r, fcntl.F_SETSIG, 9),",
        "    lambda: os.pidfd_open(1),",
        "    lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)),",
        "    lambda: os.setpriority(os.PRIO_PROCESS, 1, 19),",
        "    lambda: os.sched_setaffinity(1, {0}),",
        "    lambda: os.killpg(1, 9),",
        "]",
        "shut = 0",
        "for door in doors:",
        "    try: door()",
        "    except PermissionError: shut += 1",
        "return [shut, len(doors)]",
    )
    shut, doors = (await target.run(source))["data"]
    assert shut == doors


# -- memory and disk


async def test_a_memory_bomb_is_told_that_memory_is_out(target: RawRunner) -> None:
    source = handler("kept = []", "while True: kept.append(bytearray(1 << 20))")
    answer = await target.run(source)
    assert answer["data"]["code"] == "SANDBOX_OUT_OF_MEMORY"
    with pytest.raises(Closed):  # a worker that ran out of memory answers and ends
        await target.receive()


async def test_deep_recursion_is_an_error_or_the_end_of_the_worker(target: RawRunner) -> None:
    source = handler("sys.setrecursionlimit(10 ** 9)", "f = lambda n: f(n + 1) + 1", "return f(0)")
    try:
        answer = await target.run(source)
    except Closed:
        assert await asyncio.wait_for(asyncio.shield(target.worker.ended), 5) == "exited"
    else:
        assert answer["data"]["code"] in ("HANDLER_FAILED", "SANDBOX_OUT_OF_MEMORY")


async def test_a_file_cannot_grow_beyond_its_limit(target: RawRunner) -> None:
    source = handler("with open('big', 'wb') as f:", "    while True: f.write(b'x' * (1 << 20))")
    assert "File too large" in await refusal(target, source)


async def test_the_disk_of_a_sandbox_is_small_and_emptied_behind_the_worker(town: Town, target: RawRunner) -> None:
    fill = handler(
        "try:",
        "    for n in range(9999):",
        "        with open(f'/tmp/{n}', 'wb') as f: f.write(b'x' * (8 << 20))",
        "except OSError as e: return [n, str(e)]",
    )
    files, message = (await target.run(fill))["data"]
    assert files <= 8
    assert "No space left" in message
    await target.worker.kill()
    listing = handler("return os.listdir('/tmp')")
    assert all(name.startswith("w") for name in (await town.neighbour.run(listing))["data"])


async def test_a_million_empty_files_and_a_bottomless_folder_stop_early(town: Town, target: RawRunner) -> None:
    source = handler(
        "made = 0",
        "try:",
        "    for _ in range(1000):",
        "        os.mkdir('deeper'); os.chdir('deeper'); made += 1",
        "    for n in range(10 ** 6):",
        "        open(f'/tmp/f{n}', 'w').close(); made += 1",
        "except OSError: os.chmod('.', 0); return made",
    )
    assert (await target.run(source))["data"] <= 4096
    await target.worker.kill()
    listing = handler("return os.listdir('/tmp')")
    assert all(name.startswith("w") for name in (await town.neighbour.run(listing))["data"])


@pytest.mark.parametrize("path", ["/x", "/usr/lib/x", "/runner/x", "/dev/shm", "/dev/x", "/proc/self/oom_score_adj"])
async def test_nothing_outside_tmp_can_be_written(target: RawRunner, path: str) -> None:
    message = await refusal(target, handler(f"open({path!r}, 'w').write('0')"))
    assert message.startswith(("OSError", "PermissionError", "FileNotFoundError"))


# -- secrets


async def test_the_servers_environment_cannot_be_read(target: RawRunner) -> None:
    source = handler(
        "found = dict(os.environ)",
        "others = [pid for pid in os.listdir('/proc') if pid.isdigit() and int(pid) != os.getpid()]",
        "for pid in others:",
        "    for name in ('environ', 'mem', 'maps', 'fd/3'):",
        "        try: found[pid + name] = open(f'/proc/{pid}/{name}', 'rb').read(64).decode('latin1')",
        "        except OSError: pass",
        "return found",
    )
    found = (await target.run(source))["data"]
    assert set(found) <= {"HOME", "TMPDIR", "PWD", "LC_CTYPE"}


async def test_the_data_directory_cannot_be_seen(town: Town, target: RawRunner) -> None:
    source = handler("return open(inputs['path']).read()")
    path = str(town.data_dir / "admin_token")
    assert (await refusal(target, source, {"path": path})).startswith(("FileNotFoundError", "PermissionError"))
    listing = (await target.run(handler("return sorted(os.listdir('/'))")))["data"]
    assert not {"work", "home", "etc", "var", "sys"} & set(listing)


async def test_uhlp_and_the_servers_packages_cannot_be_imported(target: RawRunner) -> None:
    for name in ("uhlp", "fastapi", "pygit2", "pip"):
        assert (await refusal(target, f"import {name}\n")).startswith("ModuleNotFoundError")


async def test_the_supervisor_and_neighbours_cannot_be_traced(target: RawRunner) -> None:
    source = handler(
        "libc = ctypes.CDLL(None, use_errno=True)",
        "return [[libc.ptrace(16, pid, 0, 0), ctypes.get_errno()] for pid in (1, 2)]",
    )
    assert (await target.run(source))["data"] == [[-1, 1], [-1, 1]]


# -- network and kernel


async def test_the_host_cannot_be_reached_over_the_network(target: RawRunner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = handler("import socket", "socket.create_connection(('127.0.0.1', inputs['port']))")
        assert "PermissionError" in await refusal(target, source, {"port": server.getsockname()[1]})
    assert "PermissionError" in await refusal(target, handler("import socket", "socket.socket(40)"))  # AF_VSOCK


@pytest.mark.parametrize("name", ["io_uring_setup", "bpf", "userfaultfd", "keyctl", "unshare", "mount", "memfd_create"])
async def test_rare_parts_of_the_kernel_are_out_of_reach(target: RawRunner, name: str) -> None:
    from uhlp.runner import syscalls

    number = syscalls.ALL[name][("x86_64", "aarch64").index(os.uname().machine)]
    source = handler(
        "libc = ctypes.CDLL(None, use_errno=True)",
        f"return [libc.syscall({number}, 1, 0, 0, 0, 0), ctypes.get_errno()]",
    )
    assert (await target.run(source))["data"] == [-1, 1]


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


# -- the channel


async def test_a_flood_of_output_is_cut(target: RawRunner) -> None:
    answer = await target.run(handler("for _ in range(50_000): print('x' * 1000)", "return 1"))
    assert answer["data"] == 1
    assert sum(len(log["message"]) for log in target.logs) < 66 * 1024


async def test_descriptors_1_and_2_lead_nowhere(target: RawRunner) -> None:
    answer = await target.run(handler("os.write(1, b'x' * 1000); os.write(2, b'y' * 1000)", "return 1"))
    assert answer["data"] == 1
    assert target.strays == []


async def test_a_result_for_another_request_does_not_become_its_answer(target: RawRunner) -> None:
    source = handler(
        "import json, struct",
        "for fd in range(3, 64):",
        "    forged = {'requestId': 'other', 'data': 'forged'}",
        "    body = json.dumps({'jsonrpc': '2.0', 'id': 9999, 'result': forged}).encode()",
        "    try: os.write(fd, struct.pack('>I', len(body)) + body)",
        "    except OSError: pass",
        "return 'honest'",
    )
    assert (await target.run(source))["data"] == "honest"
    assert [stray["id"] for stray in target.strays] in ([], [9999])  # the host knows no such request and drops it


async def test_a_patched_json_library_changes_only_this_worker(target: RawRunner) -> None:
    source = handler(
        "import json, orjson",
        "json.dumps = orjson.dumps = lambda *a, **k: b'{}'",
        "json.loads = orjson.loads = lambda *a, **k: {}",
        "return 'honest'",
    )
    assert (await target.run(source))["data"] == "honest"
    assert (await target.run(ECHO, {"n": 5}))["data"] == {"n": 5}


async def test_closing_every_descriptor_ends_the_worker(target: RawRunner) -> None:
    with pytest.raises(Closed):
        await target.run(handler("os.closerange(0, 256)", "return 1"))
    assert await asyncio.wait_for(asyncio.shield(target.worker.ended), 5) == "exited"


async def test_tests_that_end_the_process_with_success_have_not_passed(target: RawRunner) -> None:
    tests = "import os\nos._exit(0)\n"
    with pytest.raises(Closed):
        await target.execute(request(ECHO, handler_type="TESTS", tests=tests), ECHO, tests)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ("print('\\ud800'); return 1", 1),
        ("raise ValueError('\\ud800')", "HANDLER_FAILED"),
        ("raise uhlp_runtime.Deoptimize('\\ud800')", {"reason": "?"}),
        ("raise uhlp_runtime.ToolFailed('\\ud800', object())", "?"),
        ("uhlp_runtime.call_tool('t', {'a': '\\ud800'})", "BAD_REQUEST"),
        ("uhlp_runtime.call_tool('t', {'a': 'x' * 17_000_000})", "BAD_REQUEST"),
        ("uhlp_runtime.call_tool('t', {'a': list(range(1_000_000))})", "BAD_REQUEST"),
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
        ("[1] * 200_000", 200_000),
        ("list(range(1_000_000))", "SANDBOX_OUT_OF_MEMORY"),
        ("[{}] * 1_000_000", "SANDBOX_OUT_OF_MEMORY"),
        ("{str(n): n for n in range(300_000)}", "SANDBOX_OUT_OF_MEMORY"),
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


async def test_a_result_that_holds_itself_or_grows_without_end_is_answered(target: RawRunner) -> None:
    bomb = handler("value = ['x']", "for _ in range(40): value = [value] * 10", "return value")
    assert (await target.run(bomb))["data"]["code"] == "OUTPUT_INVALID"
    loop = handler("value = []", "value.append(value)", "return value")
    assert (await target.run(loop))["data"]["code"] == "OUTPUT_INVALID"


async def test_a_test_report_in_characters_that_cannot_be_sent_arrives(target: RawRunner) -> None:
    tests = "def test_prints():\n    print('\\ud800')\n    assert '\\ud800' == 1\n"
    answer = await target.execute(request(ECHO, handler_type="TESTS", tests=tests), ECHO, tests)
    assert (answer["data"]["failed"], answer["data"]["errors"]) == (1, 0)
