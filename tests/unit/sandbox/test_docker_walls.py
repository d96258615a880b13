"""What code in a container of ours can see and do, and that a wall which is not there is noticed."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from docker_parts import docker_driver, opened, said_inside
from raw_runner import Closed, Json, RawRunner, new_data_dir, raw_runner, spec

from uhlp.errors import IsolationRefused
from uhlp.sandbox.drivers.docker import container
from uhlp.sandbox.drivers.docker.driver import DockerDriver

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(
    docker_engine: str, runner_image: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[DockerDriver]:
    folder = tmp_path_factory.mktemp("allowed")
    folder.chmod(0o755)
    (folder / "words.txt").write_text("figs")
    (folder / "out").mkdir(mode=0o777)
    (folder / "out").chmod(0o777)
    data_dir = new_data_dir(tmp_path_factory)
    allow = (str(folder), str(data_dir), "/run", str(Path(docker_engine.removeprefix("unix://")).parent))
    async with opened(docker_driver(docker_engine, data_dir, allow=allow)) as driver:
        assert driver.capabilities.isolation == "container", driver.status()
        driver.folder = folder  # type: ignore[attr-defined]
        yield driver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner(driver: DockerDriver) -> RawRunner:
    return await raw_runner(await driver.start(spec()))


async def test_code_is_nobody_and_holds_nothing(runner: RawRunner) -> None:
    look = (
        "import os\n"
        "def handle(i, c):\n"
        "    said = dict(line.split(':\\t') for line in open('/proc/thread-self/status').read().splitlines())\n"
        "    names = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')\n"
        "    return {'uid': os.getuid(), 'gid': os.getgid(), 'groups': os.getgroups(), 'environment': [*os.environ],\n"
        "            'capabilities': [int(said[name], 16) for name in names], 'nnp': said['NoNewPrivs'],\n"
        "            'filters': int(said.get('Seccomp_filters', 3)), 'host': os.uname().nodename}\n"
    )
    seen = (await runner.run(look))["data"]
    assert (seen["uid"], seen["gid"], seen["groups"]) in ((65534, 65534, []), (65534, 65534, [65534]))
    assert seen["capabilities"] == [0] * 5
    assert (seen["nnp"], seen["host"]) == ("1", "sandbox")
    assert seen["filters"] >= 3  # the engine's, the supervisor's, the worker's
    assert set(seen["environment"]) <= {"HOME", "TMPDIR", "LC_CTYPE"}


async def test_nothing_but_tmp_can_be_written(runner: RawRunner) -> None:
    walk = (
        "import os\n"
        "def handle(i, c):\n"
        "    found = []\n"
        "    mounts = [line.split()[4] for line in open('/proc/self/mountinfo')]\n"
        "    tops = ['/bin', '/etc', '/home', '/opt', '/root', '/run', '/runner', '/usr', '/var', os.getcwd()]\n"
        "    for top in {*tops, *mounts}:\n"
        "        if top.startswith(('/proc', '/sys')): continue\n"
        "        found += [folder for folder, _, _ in os.walk(top) if os.access(folder, os.W_OK)]\n"
        "    return found\n"
    )
    writable = (await runner.run(walk))["data"]
    assert {"/" + folder.split("/")[1] for folder in writable} == {"/tmp"}
    assert "/dev/shm" not in writable


async def test_tmp_is_bounded_in_bytes_and_files_and_runs_nothing(runner: RawRunner) -> None:
    fill = (
        "import os\n"
        "def handle(i, c):\n"
        "    files, size = 0, 0\n"
        "    try:\n"
        "        for files in range(10_000):\n"
        "            open(f'f{files}', 'w').close()\n"
        "    except OSError:\n"
        "        pass\n"
        "    for n in range(files): os.unlink(f'f{n}')\n"
        "    try:\n"
        "        for n in range(16):\n"
        "            with open(f'b{n}', 'wb') as file: size += file.write(bytes(8 << 20))\n"
        "    except OSError:\n"
        "        pass\n"
        "    for n in range(16):\n"
        "        if os.path.exists(f'b{n}'): os.unlink(f'b{n}')\n"
        "    return [files, size >> 20]\n"
    )
    files, mib = (await runner.run(fill))["data"]
    assert 1000 < files < 4096
    assert mib <= 64


async def test_there_is_no_network_but_loopback_and_no_socket_for_code(runner: RawRunner) -> None:
    look = (
        "import os, socket\n"
        "def handle(i, c):\n"
        "    up = [n for n in os.listdir('/sys/class/net') if int(open(f'/sys/class/net/{n}/flags').read(), 16) & 1]\n"
        "    try:\n"
        "        socket.socket()\n"
        "    except OSError as error:\n"
        "        return [up, error.errno]\n"
    )
    assert (await runner.run(look))["data"] == [["lo"], errno.EPERM]


async def test_a_pool_with_a_network_has_sockets_and_an_interface(driver: DockerDriver) -> None:
    sandbox = await driver.start(spec(network="bridge"))
    runner = await raw_runner(sandbox)
    look = (
        "import os, socket\n"
        "def handle(i, c):\n"
        "    with socket.socket() as one:\n"
        "        one.bind(('127.0.0.1', 0))\n"
        "    return sorted(os.listdir('/sys/class/net'))\n"
    )
    assert "eth0" in (await runner.run(look))["data"]
    await sandbox.stop("the test is over")


async def test_the_larger_of_two_workers_goes_when_memory_runs_out_and_the_other_does_not_notice(
    driver: DockerDriver,
) -> None:
    sandbox = await driver.start(spec(memory="128M"))
    small, large = await raw_runner(sandbox), await raw_runner(sandbox)
    hold = (
        "from uhlp_runtime import call_tool\n"
        "def handle(i, c):\n"
        "    held = bytearray(b'x') * (i['mib'] << 20)\n"
        "    call_tool('wait', {})\n"
        "    return len(held) >> 20\n"
    )
    holds, may_end = asyncio.Event(), asyncio.Event()

    async def wait(params: Json) -> Json:
        holds.set()
        await may_end.wait()
        return {"result": {}}

    small.tools = wait
    held = asyncio.ensure_future(small.run(hold, {"mib": 50}))
    await asyncio.wait_for(holds.wait(), 10)
    with pytest.raises(Closed):
        await large.run(hold, {"mib": 115})
    assert await large.worker.kill() == "oom"
    may_end.set()
    assert (await held)["data"] == 50
    newcomer = await raw_runner(sandbox)
    assert (await newcomer.run("def handle(i, c):\n    return i\n", {"n": 2}))["data"] == {"n": 2}
    await sandbox.stop("the test is over")


async def test_volumes_are_read_only_unless_they_say_so(driver: DockerDriver) -> None:
    folder: Path = driver.folder  # type: ignore[attr-defined]
    sandbox = await driver.start(spec(volume_mounts=(f"{folder}:/data/words", f"{folder}/out:/data/out:rw")))
    runner = await raw_runner(sandbox)
    read = "def handle(i, c):\n    return open('/data/words/words.txt').read()\n"
    assert (await runner.run(read))["data"] == "figs"
    write = "def handle(i, c):\n    open(i['path'], 'w').write('x')\n"
    assert "Read-only" in (await runner.run(write, {"path": "/data/words/out/a"}))["data"]["message"]
    assert (await runner.run(write, {"path": "/data/out/a"}))["data"] is None
    assert (folder / "out/a").read_text() == "x"
    await sandbox.stop("the test is over")


async def test_data_directory_and_engine_are_never_mounted_though_the_allow_list_names_them(
    driver: DockerDriver, docker_engine: str
) -> None:
    engine_socket = Path(docker_engine.removeprefix("unix://"))
    for source in (driver._data_dir, engine_socket, engine_socket.parent, "/run"):
        with pytest.raises(IsolationRefused, match=r"would show|outside|link"):
            await driver.start(spec(volume_mounts=(f"{source}:/data",)))


async def test_a_supervisor_sees_every_wall_that_an_engine_did_not_build(docker_engine: str, runner_image: str) -> None:
    code = (
        "import sys; sys.path.append('/runner')\n"
        "from uhlp_runner.promises import Promises, broken\n"
        "import json\n"
        "print(json.dumps(broken(Promises(memory_bytes=1 << 27, pids=64, tmp='/tmp', tmp_bytes=1 << 26,\n"
        "    tmp_files=4096, has_network=False))))\n"
    )
    naked = json.loads(said_inside(docker_engine, code, NetworkMode="bridge", SecurityOpt=["seccomp=unconfined"]))
    for wall in (
        "own user", "no capabilities", "no new privileges", "filter of system calls", "read-only root",
        "bounds of /tmp", "no network", "bound of memory", "bound of processes",
    ):  # fmt: skip
        assert any(problem.startswith(wall) for problem in naked), (wall, naked)
    dressed = json.loads(said_inside(docker_engine, code, Memory=1 << 27, MemorySwap=1 << 27, PidsLimit=64))
    assert not any(problem.startswith(("no network", "bound of")) for problem in dressed), dressed


_REFUSED = {
    "io_uring_setup": (425, 1, 0), "userfaultfd": (323, 0), "bpf": (321, 0, 0, 0), "perf_event_open": (298, 0, 0, 0),
    "keyctl": (250, 0, 0), "add_key": (248, 0, 0), "request_key": (249, 0, 0), "mount": (165, 0, 0), "ptrace": (101, 0),
    "umount2": (166, 0), "process_vm_readv": (310, 1), "kexec_load": (246, 0), "init_module": (175, 0),
    "setns": (308, 0), "unshare": (272, 0x10000000), "clone": (56, 0x10000000 | 17), "AF_VSOCK": (41, 40, 1, 0),
    "AF_NETLINK": (41, 16, 3, 0), "AF_PACKET": (41, 17, 3, 0), "SCTP": (41, 2, 1, 132), "swapon": (167, 0),
    "open_by_handle_at": (304, 0), "pivot_root": (155, 0), "chroot": (161, 0), "settimeofday": (164, 0),
    "shmget": (29, 0, 4096, 0o1600), "mq_open": (240, 0), "personality": (135, 0x0040000), "vmsplice": (278, 0),
    "fanotify_init": (300, 0), "quotactl": (179, 0), "pidfd_getfd": (438, 0), "memfd_secret": (447, 0),
    "syslog": (103, 3), "reboot": (169, 0),
}  # fmt: skip


async def test_the_profile_refuses_the_kernels_rarer_doors_to_root_itself(
    docker_engine: str, runner_image: str
) -> None:
    code = (
        "import ctypes, json, platform, socket, threading\n"
        "libc, calls, said = ctypes.CDLL(None, use_errno=True), json.loads(" + repr(json.dumps(_REFUSED)) + "), {}\n"
        "for name, (number, *arguments) in calls.items():\n"
        "    ctypes.set_errno(0)\n"
        "    result = libc.syscall(number, *arguments)\n"
        "    said[name] = ctypes.get_errno() if result < 0 else 0\n"
        "ctypes.set_errno(0); libc.syscall(435, 0, 0); said['clone3'] = ctypes.get_errno()\n"
        "threading.Thread(target=int).start()\n"
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX): socket.socket(family).close()\n"
        "print(json.dumps([platform.machine(), said]))\n"
    )
    profile = container._seccomp_profile()
    options = ["no-new-privileges", f"seccomp={profile}"]  # without the first, runc itself would need more calls
    held = ["SYS_ADMIN", "SYS_PTRACE"]
    machine, said = json.loads(said_inside(docker_engine, code, CapAdd=held, SecurityOpt=options))
    if machine != "x86_64":
        pytest.skip("the numbers are those of x86_64")
    assert said.pop("clone3") == errno.ENOSYS
    assert {name: number for name, number in said.items() if number not in (errno.EPERM, errno.ENOSYS)} == {}
