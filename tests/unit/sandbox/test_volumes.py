"""What an application may have mounted, and that what was checked is what is mounted."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from pydantic import ValidationError
from raw_runner import isolated_driver, new_data_dir, raw_runner, spec

from uhlp.errors import IsolationRefused, SandboxDied
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.drivers import bubblewrap
from uhlp.sandbox.drivers.identities import Identities
from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.volumes import SharedSources, open_volumes

ESCAPING_TARGETS = (
    "/runner", "//runner", "///runner", "/./runner", "/data/../runner", "/Runner/x", "/", "//", "data", "/data/./x",
    "/usr/lib/x", "/lib64", "/etc", "/proc/self", "/run/uhlp", "/var/run", "/tmp", "/newroot/runner", "/oldroot/etc",
    "/root/.pyenv", "/data\0", "/data\n", "/data/\x7f", "/a b", "/" + "y" * 256, "/y" * 9, "/y" * 8000,
)  # fmt: skip


@pytest.mark.parametrize("target", ESCAPING_TARGETS)
def test_a_target_that_is_not_beside_the_sandbox_is_refused_when_it_is_written_and_when_it_is_mounted(
    target: str, tmp_path: Path
) -> None:
    mount = f"{tmp_path}:{target}"
    with pytest.raises(ValidationError):
        PoolDefinition(pool_name="default", volume_mounts=(mount,))
    with pytest.raises(IsolationRefused), open_volumes((mount,), (str(tmp_path),)):
        pass


@pytest.mark.parametrize(
    "targets", [("/data", "/data"), ("/data", "/data/x"), ("/data/x", "/data"), ("/data", "/data/")]
)
def test_targets_do_not_lie_in_each_other(targets: tuple[str, str], tmp_path: Path) -> None:
    mounts = tuple(f"{tmp_path}:{target}" for target in targets)
    with pytest.raises(ValidationError, match="lie in each other"):
        PoolDefinition(pool_name="default", volume_mounts=mounts)
    with pytest.raises(IsolationRefused, match="lie in each other"), open_volumes(mounts, (str(tmp_path),)):
        pass


def test_targets_beside_the_sandbox_stand(tmp_path: Path) -> None:
    mounts = (f"{tmp_path}:/data", f"{tmp_path}:/data2/words-v1.0/:ro", f"{tmp_path}:/srv/out:rw")
    PoolDefinition(pool_name="default", volume_mounts=mounts)
    with open_volumes(mounts, (str(tmp_path),)) as volumes:
        seen = [(str(volume.target), volume.writable) for volume in volumes]
    assert seen == [("/data", False), ("/data2/words-v1.0", False), ("/srv/out", True)]


def test_what_the_interpreter_needs_is_never_covered(tmp_path: Path) -> None:
    library = Path("/opt/python/lib")
    for target in ("/opt", "/opt/python/lib", "/opt/python/lib/python3.11"):
        with (
            pytest.raises(IsolationRefused, match="cover"),
            open_volumes((f"{tmp_path}:{target}",), (str(tmp_path),), occupied=[library]),
        ):
            pass


def test_sources_are_plain_files_and_folders_below_an_allowed_one(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for folder in (allowed / "words", secret / "keys"):
        folder.mkdir(parents=True)
    (allowed / "link").symlink_to(allowed / "words")
    (allowed / "escape").symlink_to(secret)
    os.mkfifo(allowed / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(allowed / "socket"))
    for source in (
        secret, allowed / "link", allowed / "escape" / "keys", allowed / "fifo", allowed / "socket", allowed / "absent",
        f"{allowed}/words/../../secret", f"{allowed}2", f"/{allowed}", "/", "/proc/self/root", "words",
    ):  # fmt: skip
        with pytest.raises(IsolationRefused), open_volumes((f"{source}:/data",), (str(allowed),)):
            pass
    with open_volumes((f"{allowed}/words:/data",), (str(allowed),)) as volumes:
        assert volumes[0].source == allowed / "words"


def test_an_allowed_folder_may_itself_be_a_link_and_hidden_paths_stay_hidden(tmp_path: Path) -> None:
    (tmp_path / "real" / "words").mkdir(parents=True)
    (tmp_path / "allowed").symlink_to(tmp_path / "real")
    allowed = (str(tmp_path / "allowed"),)
    with open_volumes((f"{tmp_path}/allowed/words:/data",), allowed) as volumes:
        assert volumes[0].source == tmp_path / "real" / "words"
    for hidden in (tmp_path / "real" / "words", tmp_path / "real" / "words" / "below", tmp_path / "real"):
        with (
            pytest.raises(IsolationRefused, match="no sandbox may see"),
            open_volumes((f"{tmp_path}/allowed/words:/data",), allowed, hidden=[hidden]),
        ):
            pass
    with pytest.raises(IsolationRefused, match="no sandbox may see"), open_volumes(("/proc/sys:/data",), ("/proc",)):
        pass


def test_nothing_in_a_folder_that_a_pool_may_write_is_a_source_where_the_engine_opens_it_by_name(
    tmp_path: Path,
) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "ab").mkdir()

    def check(shared: SharedSources, *mounts: str) -> None:
        full = [f"{tmp_path}/{mount.replace(':', f':/data{number}:')}" for number, mount in enumerate(mounts)]
        with open_volumes(full, (str(tmp_path),)) as volumes:
            shared.check(volumes)

    for first, second in ((("a:rw",), ("a/b:ro",)), (("a/b:ro",), ("a:rw",)), (("a:rw",), ("a/b/c:rw",))):
        shared = SharedSources()
        check(shared, *first)
        with pytest.raises(IsolationRefused, match="beside each other"):
            check(shared, *second)
        with pytest.raises(IsolationRefused, match="beside each other"):
            check(SharedSources(), *first, *second)
    shared = SharedSources()
    for mounts in (("a:ro", "a/b:rw"), ("a/b:ro",), ("ab:rw",), ("a/b:rw", "ab:rw"), ("a:ro",)):
        check(shared, *mounts)
    with pytest.raises(IsolationRefused):
        check(shared, "a/b/c:ro")


async def test_a_source_that_is_exchanged_for_a_link_after_the_check_shows_what_was_checked(tmp_path: Path) -> None:
    await isolated_driver(tmp_path / "server")
    words, secret = tmp_path / "words", tmp_path / "secret"
    for folder in (words, secret):
        folder.mkdir()
        (folder / folder.name).touch()
    with open_volumes((f"{words}:/data",), (str(tmp_path),)) as volumes:
        words.rename(tmp_path / "moved")
        words.symlink_to(secret)
        read, write = os.pipe()
        interpreter = Interpreter.own()
        line = bubblewrap.command(
            "bwrap", interpreter=interpreter, home=tmp_path, volumes=volumes, info_fd=write, is_root=os.geteuid() == 0
        )
        line += [str(interpreter.executable), "-I", "-S", "-c", "import os; print(os.listdir('/data'))"]
        inherited = (write, volumes[0].descriptor)
        seen = subprocess.run(line, env={}, capture_output=True, text=True, pass_fds=inherited)  # noqa: ASYNC221 - it takes a moment
        os.close(read)
        os.close(write)
    assert (seen.stdout.strip(), seen.stderr) == ("['words']", "")


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_start_that_fails_gives_everything_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    data_dir = new_data_dir(tmp_path_factory)
    driver = await isolated_driver(data_dir, volume_allow=(str(data_dir.parent),))
    broken = data_dir / "bwrap"
    broken.write_text("#!/nonexistent\n")
    broken.chmod(0o755)
    works, driver._bwrap = driver._bwrap, str(broken)
    before = open_descriptors()
    for _ in range(3):
        with pytest.raises(SandboxDied, match="did not start"):
            await driver.start(spec())
    driver._bwrap = "bwrap\0"
    with pytest.raises(SandboxDied, match="null byte"):
        await driver.start(spec())
    assert (open_descriptors(), driver._identities._taken) == (before, set())
    driver._bwrap = works
    with pytest.raises(IsolationRefused):
        await driver.start(spec(volume_mounts=(f"{data_dir}:/data",)))
    assert (open_descriptors(), driver._identities._taken) == (before, set())
    await driver.close()


async def test_a_sandbox_that_has_ended_leaves_no_descriptor(tmp_path_factory: pytest.TempPathFactory) -> None:
    data_dir = new_data_dir(tmp_path_factory)
    words = tmp_path_factory.mktemp("words")
    words.chmod(0o755)
    driver = await isolated_driver(data_dir, volume_allow=(str(words),))
    before = open_descriptors()
    sandbox = await driver.start(spec(volume_mounts=(f"{words}:/data:rw",)))
    runner = await raw_runner(sandbox)
    assert (await runner.run("import os\ndef handle(i, c):\n    return os.listdir('/data')\n"))["data"] == []
    runner.worker.endpoint.close()
    await sandbox.stop("the test is over")
    assert open_descriptors() == before
    await driver.close()


def test_when_every_user_is_taken_nothing_starts() -> None:
    identities = Identities("some server")
    if not identities.is_available:
        pytest.skip("only root can give users away")
    taken = [identities.take() for _ in range(1000)]
    assert len(set(taken)) == 1000
    with pytest.raises(SandboxDied, match="user ids"):
        identities.take()
    identities.give_back(taken[7])
    assert identities.take() == taken[7]
