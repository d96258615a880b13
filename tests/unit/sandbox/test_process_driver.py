"""The life of sandboxes and workers, as the kernel sees it."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from raw_runner import isolated_driver, new_data_dir, raw_runner, spec

from tests.walls import need_walls
from uhlp.errors import ImageUnavailable, IsolationRefused, SandboxDied
from uhlp.sandbox.command import CommandSpec
from uhlp.sandbox.drivers.marked_processes import marked_processes
from uhlp.sandbox.drivers.process import ProcessDriver

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = "def handle(inputs, context):\n    return inputs\n"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_data_dir(tmp_path_factory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driver(data_dir: Path) -> AsyncIterator[ProcessDriver]:
    driver = await isolated_driver(data_dir)
    yield driver
    await driver.close()


def processes_of(driver: ProcessDriver) -> list[int]:
    return [pid for pid, _ in marked_processes(driver.instance)]


async def test_a_sandbox_starts_works_and_leaves_no_process_behind(driver: ProcessDriver) -> None:
    sandbox = await driver.start(spec())
    runners = [await raw_runner(sandbox) for _ in range(3)]
    for number, runner in enumerate(runners):
        assert (await runner.run(ECHO, {"n": number}))["data"] == {"n": number}
    assert await driver.list_owned() == [sandbox.sandbox_id]
    assert len(processes_of(driver)) >= 4
    await sandbox.stop("the test is over")
    assert await driver.list_owned() == []
    assert processes_of(driver) == []
    assert [await runner.worker.kill() for runner in runners] == ["killed"] * 3
    await sandbox.stop("again")


async def test_a_pool_of_an_image_of_users_is_not_run_in_our_runner_instead(driver: ProcessDriver) -> None:
    assert await driver.has_runner("uhlp-runner:1")
    assert not await driver.has_runner("registry.example/our-node:3")
    with pytest.raises(ImageUnavailable, match=r"our-node:3.*set sandbox\.driver to docker"):
        await driver.start(spec(docker_image="registry.example/our-node:3"))
    assert await driver.list_owned() == []


async def test_a_killed_worker_takes_nobody_with_it(driver: ProcessDriver) -> None:
    sandbox = await driver.start(spec())
    first, second = await raw_runner(sandbox), await raw_runner(sandbox)
    assert await first.worker.memory_bytes() > 1_000_000
    assert await first.worker.kill() == "killed"
    assert await first.worker.kill() == "killed"
    assert await first.worker.memory_bytes() == 0
    assert (await second.run(ECHO, {"n": 1}))["data"] == {"n": 1}
    await sandbox.stop("the test is over")


async def test_a_worker_whose_stream_closes_ends_by_itself(driver: ProcessDriver) -> None:
    sandbox = await driver.start(spec())
    runner = await raw_runner(sandbox)
    runner.worker.endpoint.close()
    assert await asyncio.wait_for(asyncio.shield(runner.worker.ended), 20) == "exited"
    await sandbox.stop("the test is over")


async def test_a_zygote_that_is_killed_takes_its_workers_with_it(driver: ProcessDriver) -> None:
    sandbox = await driver.start(spec())
    runner = await raw_runner(sandbox)
    assert sandbox._zygote_fd is not None
    signal.pidfd_send_signal(sandbox._zygote_fd, signal.SIGKILL)
    await asyncio.wait_for(asyncio.shield(sandbox.ended), 20)
    assert processes_of(driver) == []
    assert await runner.worker.kill() == "exited"
    with pytest.raises(SandboxDied):
        await sandbox.start_worker()


async def test_every_sandbox_has_a_user_of_its_own(driver: ProcessDriver) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give users away")
    sandboxes = [await driver.start(spec(app_id)) for app_id in ("shop", "desk")]
    users = {sandbox.walls["uid"] for sandbox in sandboxes}
    assert len(users) == 2
    assert 0 not in users
    for sandbox in sandboxes:
        await sandbox.stop("the test is over")


async def test_a_sandbox_that_would_run_as_root_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give users away")
    data_dir = new_data_dir(tmp_path_factory)
    driver = await isolated_driver(data_dir)
    driver._identities._first = None  # as where no range of users is mapped
    with pytest.raises(IsolationRefused) as refused:
        await driver.start(spec())
    assert refused.value.details == {"missing": ["own user: it is root"]}
    assert await driver.list_owned() == []
    assert (await driver.open()).isolation == "none"
    await driver.close()


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A folder with one file, and a link that leads out of it."""
    folder = tmp_path / "words"
    folder.mkdir(mode=0o755)
    (folder / "words.txt").write_text("figs")
    (folder / "escape").symlink_to("/etc")
    return folder


async def test_a_volume_is_seen_read_only_and_only_from_allowed_folders(words: Path, data_dir: Path) -> None:
    driver = await isolated_driver(data_dir, volume_allow=(str(words),))
    with pytest.raises(IsolationRefused, match="outside"):
        await driver.start(spec(volume_mounts=(f"{words.parent}:/data",)))
    with pytest.raises(IsolationRefused, match="link"):
        await driver.start(spec(volume_mounts=(f"{words}/escape:/data",)))
    sandbox = await driver.start(spec(volume_mounts=(f"{words}:/data/words",)))
    runner = await raw_runner(sandbox)
    read = "def handle(i, c):\n    return open('/data/words/words.txt').read()\n"
    assert (await runner.run(read))["data"] == "figs"
    write = "def handle(i, c):\n    open('/data/words/words.txt', 'w')\n"
    assert "Read-only" in (await runner.run(write))["data"]["message"]
    await driver.close()


async def test_what_a_killed_server_leaves_ends_with_it_and_is_swept_at_the_next_start(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    need_walls()
    data_dir = new_data_dir(tmp_path_factory)
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nsys.path.insert(0, sys.argv[2])\n"
        "from raw_runner import isolated_driver, new_data_dir, raw_runner, spec\n"
        "async def main():\n"
        "    driver = await isolated_driver(Path(sys.argv[1]))\n"
        "    await raw_runner(await driver.start(spec()))\n"
        "    print('started', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    arguments = ("-c", script, str(data_dir), str(Path(__file__).parent))
    server = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=subprocess.PIPE)
    assert server.stdout is not None
    while b"started" not in (line := await server.stdout.readline()):
        assert line, "the server ended before it had started a sandbox"
    server.kill()
    await server.wait()
    driver = await isolated_driver(data_dir)
    assert await driver.list_owned() == []
    assert processes_of(driver) == []
    await driver.close()


async def test_a_bubblewrap_that_shows_no_descriptors_is_found_out_at_the_start(
    words: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need_walls()
    data_dir = new_data_dir(tmp_path_factory)
    old = data_dir / "bwrap"
    old.write_text(
        "#!/bin/sh\nfor option; do case $option in --bind-fd | --ro-bind-fd)\n"
        'echo "bwrap: Unknown option $option" >&2; exit 1;; esac; done\n'
        f'exec {shutil.which("bwrap")} "$@"\n'
    )
    old.chmod(0o755)
    driver = ProcessDriver(
        data_dir=data_dir, allow_unisolated=False, production=True, volume_allow=(str(words),), bwrap=str(old)
    )
    capabilities = await driver.open()
    assert capabilities.isolation == "namespaces"
    (missing,) = capabilities.missing
    assert "volumes and commands need bubblewrap 0.10" in missing
    assert "Unknown option --ro-bind-fd" in missing
    with pytest.raises(IsolationRefused, match=r"bubblewrap 0\.10"):
        await driver.start(spec(volume_mounts=(f"{words}:/data",)))
    with pytest.raises(IsolationRefused, match=r"bubblewrap 0\.10"):
        await driver.open_command(CommandSpec(argv=("/usr/bin/sort",), owner="shop"))
    sandbox = await driver.start(spec())
    assert (await (await raw_runner(sandbox)).run(ECHO, {"n": 1}))["data"] == {"n": 1}
    await driver.close()


async def test_without_bubblewrap_the_driver_says_so_and_production_refuses(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data_dir = new_data_dir(tmp_path_factory)
    absent = str(data_dir / "bwrap")
    strict = ProcessDriver(data_dir=data_dir, allow_unisolated=False, production=True, bwrap=absent)
    capabilities = await strict.open()
    lenient = ProcessDriver(data_dir=data_dir, allow_unisolated=False, production=False, bwrap=absent)
    await lenient.open()
    assert capabilities.isolation == "none"
    assert "bubblewrap is not installed" in capabilities.missing[0]
    with pytest.raises(IsolationRefused):
        await strict.start(spec())
    with pytest.raises(IsolationRefused):
        await lenient.start(spec(volume_mounts=("/srv:/data",)))
    sandbox = await lenient.start(spec())
    runner, neighbour = await raw_runner(sandbox), await raw_runner(sandbox)
    assert (await runner.run(ECHO, {"n": 1}))["data"] == {"n": 1}
    kill = "import os\ndef handle(i, c):\n    os.kill(-1, 9)\n"
    assert (await runner.run(kill))["data"]["message"].startswith("PermissionError")
    network = "import socket\ndef handle(i, c):\n    socket.create_connection(('127.0.0.1', 80))\n"
    assert (await runner.run(network))["data"]["message"].startswith("PermissionError")
    assert (await neighbour.run(ECHO, {"n": 2}))["data"] == {"n": 2}
    await lenient.close()
    assert processes_of(lenient) == []
