"""Commands as processes of this machine: what they see of it, what they are given, and when they are refused."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.unit.sandbox.raw_runner import isolated_driver, new_data_dir
from tests.walls import need_walls
from uhlp.errors import CommandRefused, ImageUnavailable, IsolationRefused
from uhlp.sandbox.command import CommandLimits, CommandSpec
from uhlp.sandbox.command_run import CommandResult, run_command
from uhlp.sandbox.drivers.identities import Identities
from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.process import ProcessDriver

pytestmark = pytest.mark.asyncio(loop_scope="module")

PYTHON = str(Interpreter.own().executable)
LIMIT_S = 10.0


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_data_dir(tmp_path_factory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(data_dir: Path) -> AsyncIterator[ProcessDriver]:
    """One for all: each that is opened looks at its walls first."""
    driver = await isolated_driver(data_dir)
    yield driver
    await driver.close()


@pytest_asyncio.fixture(loop_scope="module")
async def driver(opened: ProcessDriver) -> AsyncIterator[ProcessDriver]:
    yield opened
    assert await opened.list_owned() == []


async def run(driver: ProcessDriver, *argv: str, stdin: bytes = b"", **more: Any) -> CommandResult:
    spec = CommandSpec(owner="shop", argv=argv, **more)
    return await run_command(driver.open_command, spec, stdin=stdin, timeout_s=LIMIT_S, most_output_bytes=100_000)


async def python(driver: ProcessDriver, source: str, **more: Any) -> str:
    result = await run(driver, PYTHON, "-I", "-c", source, **more)
    assert result.exit_code == 0, result
    return result.stdout.decode().strip()


async def test_a_program_of_the_machine_does_its_work(driver: ProcessDriver) -> None:
    result = await run(driver, "/usr/bin/sort", "-r", stdin=b"a\nc\nb\n")
    assert (result.stdout, result.stderr, result.exit_code) == (b"c\nb\na\n", b"", 0)


async def test_a_command_sees_its_own_program_and_those_it_is_given(driver: ProcessDriver) -> None:
    own = "os.path.basename(os.path.realpath(sys.executable))"  # which is in /usr/bin where Python is Debian's
    seen = f"import os, sys; print(sorted({{*os.listdir('/usr/bin')}} - {{{own}}}), os.path.exists('/bin/sh'))"
    assert await python(driver, seen, programs=("/usr/bin/sort", "/usr/bin/env")) == "['env', 'sort'] False"


async def test_a_program_that_is_not_there_keeps_nobody_from_running_another(driver: ProcessDriver) -> None:
    assert await python(driver, "print(1)", programs=("/usr/bin/none-such", "/usr/bin/sort")) == "1"


async def test_links_may_lead_out_of_a_folder_and_into_one(driver: ProcessDriver, tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    folder.mkdir(mode=0o755)
    (folder / "order").symlink_to("/usr/bin/sort")
    (folder / "own").write_bytes(Path("/usr/bin/sort").read_bytes())  # noqa: ASYNC240
    (folder / "own").chmod(0o755)
    (tmp_path / "way-in").symlink_to(folder / "own")
    for program in (folder / "order", folder / "own", tmp_path / "way-in"):
        result = await run(driver, str(program), stdin=b"b\na\n", folders=(folder,))
        assert result.stdout == b"a\nb\n"


async def test_a_link_is_followed_once_and_the_program_keeps_its_name(driver: ProcessDriver, tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    folder.mkdir(mode=0o755)
    (folder / "order").symlink_to("/usr/bin/sort")
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    assert (await run(driver, str(folder / "order"), stdin=b"b\na\n")).stdout == b"a\nb\n"


@pytest.fixture(params=[(0o777, 0o755), (0o755, 0o777)], ids=["file", "folder"])
def exchangeable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A program that anybody could write, or put another in place of."""
    program = tmp_path / "sort"
    program.write_bytes(Path("/usr/bin/sort").read_bytes())
    program.chmod(request.param[0])
    tmp_path.chmod(request.param[1])
    return program


async def test_programs_that_others_could_exchange_are_refused(driver: ProcessDriver, exchangeable: Path) -> None:
    with pytest.raises(CommandRefused, match="exchanged"):
        await run(driver, str(exchangeable))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/usr/bin", "no program"),
        ("/etc/passwd", "no program"),
        ("/dev/null", "no program"),
        ("/usr/bin/none-such", "no program"),
        ("sort", "no plain absolute path"),
        ("/usr/bin/../bin/sort", "no plain absolute path"),
    ],
)
async def test_what_is_no_program_is_refused_with_the_reason(driver: ProcessDriver, path: str, reason: str) -> None:
    with pytest.raises(CommandRefused, match=reason):
        await run(driver, path)


async def test_a_program_in_the_servers_own_folder_is_refused(driver: ProcessDriver, data_dir: Path) -> None:
    program = data_dir / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(CommandRefused, match="no sandbox may look"):
        await run(driver, str(program))


async def test_a_program_that_the_kernel_cannot_start_is_refused(driver: ProcessDriver, tmp_path: Path) -> None:
    program = tmp_path / "script"
    program.write_text("#!/bin/sh\necho hello\n")  # its interpreter is not inside
    program.chmod(0o755)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    with pytest.raises(CommandRefused, match="cannot be started"):
        await run(driver, str(program))


async def test_a_folder_is_seen_read_only_at_its_own_path(driver: ProcessDriver, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    folder.mkdir(mode=0o755)
    (folder / "words.txt").write_text("figs")
    (tmp_path / "other").mkdir()
    source = (
        "import os, sys\n"
        f"print(open('{folder}/words.txt').read(), os.listdir('{tmp_path}'))\n"
        f"try: open('{folder}/words.txt', 'w')\n"
        "except OSError as error: print(error.strerror)"
    )
    assert await python(driver, source, folders=(folder,)) == "figs ['words']\nRead-only file system"


async def test_folders_that_show_the_servers_data_are_refused(driver: ProcessDriver, data_dir: Path) -> None:
    for folder in (data_dir, data_dir.parent, Path("/"), data_dir / "none-such"):
        with pytest.raises(IsolationRefused):
            await run(driver, PYTHON, folders=(folder,))


async def test_the_environment_is_what_it_is_given_and_stands_on_no_command_line(driver: ProcessDriver) -> None:
    command = await driver.open_command(
        CommandSpec(
            owner="shop",
            argv=(PYTHON, "-I", "-c", "import os, time; print(dict(os.environ), flush=True); time.sleep(1000)"),
            environment={"TOKEN": "s3cret-of-this-test"},
        )
    )
    try:
        seen = (await asyncio.wait_for(command.read_stdout(), LIMIT_S)).decode()
        lines = await asyncio.to_thread(_command_lines)
    finally:
        await command.kill()
    assert eval(seen) == {
        "PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TOKEN": "s3cret-of-this-test",
    }  # fmt: skip
    assert b"s3cret-of-this-test" not in lines


async def test_a_command_has_three_descriptors_and_hears_a_broken_pipe(driver: ProcessDriver) -> None:
    source = (
        "import os, signal\n"
        "print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')))\n"
        "print(open('/proc/self/status').read().split('SigIgn:')[1].split()[0])"
    )
    descriptors, ignored = (await python(driver, source)).splitlines()
    assert descriptors == "[0, 1, 2] 4"  # the fourth lists them
    assert not int(ignored, 16) & (1 << (signal.SIGXCPU - 1))


async def test_limits_are_as_given(driver: ProcessDriver) -> None:
    limits = CommandLimits(memory_bytes=128 << 20, cpu_s=3.5, processes=7, open_files=50, file_bytes=1000)
    source = (
        "import resource as r\n"
        "print([r.getrlimit(getattr(r, f'RLIMIT_{n}'))[1] for n in ('AS', 'CPU', 'NPROC', 'NOFILE', 'FSIZE', 'CORE')])"
    )
    assert await python(driver, source, limits=limits) == f"[{128 << 20}, 4, 7, 50, 1000, 0]"


async def test_memory_that_is_reserved_and_never_written_may_be_left_uncounted(driver: ProcessDriver) -> None:
    source = "import mmap; m = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ); print('ok')"
    loose = CommandLimits(counts_reservations=False)
    assert await python(driver, source, limits=loose) == "ok"
    assert (await run(driver, PYTHON, "-I", "-c", source)).exit_code == 1


async def test_a_signal_that_ends_a_command_is_in_its_status(driver: ProcessDriver) -> None:
    result = await run(driver, PYTHON, "-I", "-c", "import os; os.kill(os.getpid(), 15)")
    assert result.exit_code == 128 + 15


async def test_the_network_is_reached_by_those_that_were_let_out(driver: ProcessDriver) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        source = f"import socket; print(socket.create_connection(('127.0.0.1', {port}), 5).recv(5).decode())"
        assert await python(driver, source, has_network=True) == "hello"
        assert (await run(driver, PYTHON, "-I", "-c", source)).exit_code == 1


async def test_a_network_is_one_of_ip_alone(driver: ProcessDriver) -> None:
    source = (
        "import socket\n"
        "for family in (38, 40, 31, socket.AF_PACKET):\n"  # AF_ALG, AF_VSOCK, AF_BLUETOOTH
        "    try: socket.socket(family, socket.SOCK_DGRAM); print('open')\n"
        "    except OSError as error: print(error.errno)\n"
        "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"
    )
    assert set((await python(driver, source, has_network=True)).split()) == {str(errno.EPERM)}


async def test_an_image_of_somebodys_own_is_no_process(driver: ProcessDriver) -> None:
    with pytest.raises(ImageUnavailable):
        await run(driver, PYTHON, image="registry.example/tools:1")


async def test_without_walls_no_command_runs_whatever_is_allowed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = new_data_dir(tmp_path_factory)
    bare = ProcessDriver(data_dir=folder, allow_unisolated=True, production=False, bwrap=str(folder / "bwrap"))
    with pytest.raises(IsolationRefused, match="not open"):
        await run(bare, "/usr/bin/sort")
    await bare.open()
    with pytest.raises(IsolationRefused, match="bubblewrap is not installed"):
        await run(bare, "/usr/bin/sort")
    await bare.close()


async def test_a_command_with_a_wall_missing_does_not_start(
    driver: ProcessDriver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give users away")
    other = await isolated_driver(new_data_dir(tmp_path_factory))
    other._identities._first = None  # as where no range of users is mapped
    with pytest.raises(IsolationRefused) as refused:
        await run(other, "/usr/bin/sort")
    assert refused.value.details == {"missing": ["own user: it is root"]}
    assert await other.list_owned() == []
    await other.close()


async def test_a_command_ends_with_the_server_that_is_killed(tmp_path_factory: pytest.TempPathFactory) -> None:
    need_walls()
    data_dir = new_data_dir(tmp_path_factory)
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from tests.unit.sandbox.raw_runner import isolated_driver\n"
        "from uhlp.sandbox.command import CommandSpec\n"
        "async def main():\n"
        "    driver = await isolated_driver(Path(sys.argv[1]))\n"
        f"    line = ({PYTHON!r}, '-I', '-c', 'import os, time; os.fork(); os.fork(); time.sleep(1000)')\n"
        "    await driver.open_command(CommandSpec(owner='shop', argv=line))\n"
        "    print('started', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    folder = str(Path(__file__).parents[3])
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(data_dir), stdout=subprocess.PIPE, cwd=folder
    )
    assert server.stdout is not None
    while b"started" not in (line := await server.stdout.readline()):
        assert line, "the server ended before it had started a command"
    watching = [os.pidfd_open(pid) for pid in _of_one_user(data_dir)]
    server.kill()
    await server.wait()
    assert len(watching) >= 1
    for descriptor in watching:
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, gone.set)
        await asyncio.wait_for(gone.wait(), LIMIT_S)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def _command_lines() -> bytes:
    lines = b""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines += (folder / "cmdline").read_bytes()
    return lines


def _of_one_user(data_dir: Path) -> list[int]:
    """Processes of the first command of the server with this data directory."""
    first = Identities(str(data_dir.resolve())).take() or os.geteuid()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == first and b"time.sleep(1000)" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found
