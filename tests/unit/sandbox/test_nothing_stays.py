"""Nothing of one call reaches the next: what handlers change, and what the next call of the same code sees of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from raw_runner import RawRunner, isolated_driver, new_data_dir, raw_runner, request, spec
from sandbox_calls import ARTIFACTS, SHA256, execute_request, manager_of

from uhlp.errors import DeadlineExceeded
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.drivers.process import ProcessDriver, ProcessSandbox
from uhlp.sandbox.manager import AllocateSandboxRequest, ReleaseSandboxRequest, SandboxManager

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProcessDriver]:
    driver = await isolated_driver(new_data_dir(tmp_path_factory))
    yield driver
    await driver.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(driver: ProcessDriver) -> ProcessSandbox:
    return await driver.start(spec(memory="128M"))


@pytest_asyncio.fixture(loop_scope="module")
async def runner(sandbox: ProcessSandbox) -> AsyncIterator[RawRunner]:
    runner = await raw_runner(sandbox)
    yield runner
    await runner.worker.kill()
    runner.worker.endpoint.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager(driver: ProcessDriver) -> SandboxManager:
    manager = manager_of(driver)
    await manager.open()
    return manager


# -- the same process, another namespace


@pytest.mark.parametrize(
    "source",
    [
        "calls = 0\ndef handle(i, c):\n    global calls\n    calls += 1\n    return calls\n",
        "seen = []\ndef handle(i, c):\n    seen.append(i)\n    return len(seen)\n",
        "def handle(i, c, seen=[]):\n    seen.append(i)\n    return len(seen)\n",
        "class A:\n    n = 0\ndef handle(i, c):\n    A.n += 1\n    return A.n\n",
        "def make():\n    n = 0\n    def add():\n        nonlocal n\n        n += 1\n        return n\n    return add\n"
        "add = make()\ndef handle(i, c):\n    return add()\n",
        "from functools import cache\n@cache\ndef box():\n    return []\n"
        "def handle(i, c):\n    box().append(1)\n    return len(box())\n",
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    n: list = field(default_factory=list)\n"
        "a = A()\ndef handle(i, c):\n    a.n.append(1)\n    return len(a.n)\n",
        "def numbers():\n    yield from range(1, 9)\neach = numbers()\ndef handle(i, c):\n    return next(each)\n",
    ],
    ids=["global", "list", "default", "class", "closure", "cache", "dataclass", "generator"],
)
async def test_every_call_has_a_namespace_of_its_own_in_the_same_process(runner: RawRunner, source: str) -> None:
    assert [(await runner.run(source))["data"] for _ in range(4)] == [1, 1, 1, 1]
    assert not runner.is_worn


async def test_the_next_call_runs_after_one_that_failed_in_any_way(runner: RawRunner) -> None:
    source = (
        "state = []\n"
        "def deeper(n):\n    return deeper(n + 1)\n"
        "def handle(i, c):\n"
        "    state.append(1)\n"
        "    if i['how'] == 'raise': raise ValueError('x')\n"
        "    if i['how'] == 'recurse': return deeper(0)\n"
        "    if i['how'] == 'exit': raise SystemExit\n"
        "    if i['how'] == 'nan': return float('nan')\n"
        "    return len(state)\n"
    )
    for how in ("raise", "recurse", "exit", "nan"):
        assert (await runner.run(source, {"how": how}))["resultType"] == "error"
        assert (await runner.run(source, {"how": "well"}))["data"] == 1


async def test_output_belongs_to_the_call_that_printed_it(runner: RawRunner) -> None:
    source = (
        "print('loaded')\n"
        "class Late:\n    def __init__(self, word): self.word = word\n"
        "def speaks():\n    try: yield\n    finally: print('a secret')\n"
        "kept = speaks()\n"
        "def handle(i, c):\n    next(kept)\n    print(i['word'])\n    return 1\n"
    )
    for word in ("one", "two"):
        await runner.run(source, {"word": word})
    assert [log["message"] for log in runner.logs] == ["loaded\none\n", "loaded\ntwo\n"]


async def test_a_module_that_uses_tools_while_it_loads_is_loaded_in_its_call(runner: RawRunner) -> None:
    source = "from uhlp_runtime import call_tool\nRATE = call_tool('rate', {})['rate']\ndef handle(i, c): return RATE\n"

    async def rate(params: dict) -> dict:
        return {"result": {"rate": len(asked.append(params["requestId"]) or asked)}}

    asked: list[str] = []
    runner.tools = rate
    assert [(await runner.run(source))["data"] for _ in range(3)] == [1, 2, 3]
    assert len(set(asked)) == 3


async def test_code_that_could_keep_something_says_so_with_its_answer(runner: RawRunner) -> None:
    await runner.run("import os\ndef handle(i, c):\n    return 1\n")
    assert runner.is_worn


async def test_a_failure_of_such_code_says_so_too_and_a_text_that_never_ran_does_not(runner: RawRunner) -> None:
    await runner.run("def handle(i, c:\n")
    assert not runner.is_worn
    await runner.run("import os\nraise ValueError\n")
    assert runner.is_worn


async def test_a_run_of_tests_wears_its_worker_out(runner: RawRunner) -> None:
    code, tests = "def handle(i, c):\n    return 1\n", "def test_nothing():\n    pass\n"
    await runner.execute(request(code, handler_type="TESTS", tests=tests), code, tests)
    assert runner.is_worn


# -- through the manager: another process


async def call(manager: SandboxManager, source: str, data: dict | None = None, **options: object) -> object:
    pool = PoolDefinition(pool_name=str(options.pop("name", "default")), **options.pop("pool", {}))
    body = execute_request(data, code=source.encode())
    artifact = body["context"]["task"]["artifact"]["sha256"]
    answer = await manager.execute(
        "shop",
        pool,
        body,
        artifacts={artifact: source.encode()},
        call_tool=None,
        timeout_s=options.pop("timeout_s", 10.0),
        group="serving",
    )
    return answer["data"]


@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("import json; json.kept = 1", "import json; return hasattr(json, 'kept')"),
        ("import builtins; builtins.kept = 1", "import builtins; return hasattr(builtins, 'kept')"),
        ("import sys; sys.modules['kept'] = sys", "import sys; return 'kept' in sys.modules"),
        ("import os; os.environ['KEPT'] = '1'", "import os; return 'KEPT' in os.environ"),
        ("import os; open('kept', 'w').close()", "import os; return os.path.exists('kept')"),
        ("open('kept', 'w').close()", "import os; return os.path.exists('kept')"),
        ("import os; os.chdir('/')", "import os; return os.getcwd() == '/'"),
        ("import os; os.umask(0o7)", "import os; return os.umask(0) == 0o7"),
        ("import os; os.dup2(0, 99)", "import os, select; p = select.poll(); p.register(99); return not p.poll(0)"),
        ("import random; random.seed(7)", "import random; return random.random() == 0.32383276483316237"),
        ("import decimal; decimal.getcontext().prec = 3", "import decimal; return decimal.getcontext().prec == 3"),
        ("import locale; locale.setlocale(0, 'C')", "import locale; return locale.setlocale(0) == 'C'"),
        ("import sys; sys.setrecursionlimit(77)", "import sys; return sys.getrecursionlimit() == 77"),
        ("import gc; gc.disable()", "import gc; return not gc.isenabled()"),
        ("import signal; signal.alarm(60)", "import signal; return signal.alarm(0) > 0"),
        ("import logging; logging.root.kept = 1", "import logging; return hasattr(logging.root, 'kept')"),
        ("import warnings; warnings.filters.clear()", "import warnings; return not warnings.filters"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "import threading; return threading.active_count() > 1",
        ),
        ("import uhlp_runtime; uhlp_runtime.call_tool = 1", "import uhlp_runtime; return uhlp_runtime.call_tool == 1"),
        ("import ctypes; ctypes.kept = 1", "import ctypes; return hasattr(ctypes, 'kept')"),
    ],
)  # fmt: skip
async def test_what_a_call_changes_in_its_process_is_not_there_in_the_next(
    manager: SandboxManager, change: str, look: str
) -> None:
    source = f"def handle(i, c):\n    if i['change']:\n        {change}\n        return True\n    {look}\n"
    assert await call(manager, source, {"change": True}) is True
    assert await call(manager, source, {"change": False}) is False


async def test_a_pool_of_one_request_per_instance_has_a_process_for_each_call(manager: SandboxManager) -> None:
    pool = PoolDefinition(pool_name="once", max_requests_per_instance=1)
    claim = AllocateSandboxRequest(app_id="shop", required_pool_name="once", pool=pool, identity=("parse", SHA256))
    pids = set()
    for _ in range(4):
        claimed = (await manager.allocate_sandbox(claim)).instance
        assert claimed is not None
        answer = await claimed.execute(execute_request(), artifacts=ARTIFACTS, call_tool=None, timeout_s=10)
        assert answer["resultType"] == "generic"
        assert not claimed.worn
        pids.add(claimed.worker.hello["pid"])
        manager.release_sandbox(ReleaseSandboxRequest(instance_id=claimed.instance_id))
    assert len(pids) == 4


HANGS_IN_C = {
    "regex": "import re\ndef handle(i, c):\n    return bool(re.match('(a+)+$', 'a' * 64 + 'b'))\n",
    "sum": "def handle(i, c):\n    return sum(range(10 ** 12))\n",
    "power": "def handle(i, c):\n    return len(str(7 ** (10 ** 9)))\n",
    "sleep": "import ctypes\ndef handle(i, c):\n    ctypes.PyDLL(None).sleep(60)\n",
}


@pytest.mark.parametrize("source", HANGS_IN_C.values(), ids=HANGS_IN_C)
async def test_a_hang_in_c_is_ended_from_outside_and_the_next_call_answered(
    manager: SandboxManager, source: str
) -> None:
    with pytest.raises(DeadlineExceeded):
        await call(manager, source, timeout_s=0.3)
    assert await call(manager, "def handle(i, c):\n    return i\n", {"n": 1}) == {"n": 1}
