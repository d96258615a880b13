"""Where an application's remote may be: no host and no folder of the operator's that was not allowed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.definition_secrets import for_every_application
from tests.unit.state.git_servers import SSHD, https_server, ssh_server
from tests.unit.state.test_remotes import APP, bare, git, require, tip
from uhlp.access.address_guard import AddressGuard
from uhlp.clock import FakeClock
from uhlp.state.config import RemoteSettings
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.remote import Remote
from uhlp.state.remote_git import RemoteGit
from uhlp.state.remote_reach import RemoteReach


def reach_of(resolve: Any = None, **given: Any) -> RemoteReach:
    settings, clock = RemoteSettings.model_validate(given), FakeClock()
    guard = None if resolve is None else AddressGuard(rules=settings, prefix="remotes", clock=clock, resolve=resolve)
    return RemoteReach(settings=settings, clock=clock, guard=guard)


class Resolver:
    """Answers with the next of `answers`, and with the last from then on."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, list[str]]]:
    """A port of this machine, and what connected to it."""
    seen: list[str] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append("connected")
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], seen


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/x.git",
        "https://localhost:{port}/x.git",
        "https://2130706433:{port}/x.git",
        "ssh://git@127.0.0.1:{port}/x.git",
        "ssh://git@[::ffff:127.0.0.1]:{port}/x.git",
    ],
)
async def test_git_connects_to_nothing_of_this_machine_or_the_network_behind(tmp_path: Path, url: str) -> None:
    async with listening() as (port, seen):
        store = DefinitionStore(tmp_path / "apps", remote_git=RemoteGit(reach=reach_of(), timeout_s=5))
        await store.create(APP)
        store.set_remote(APP, Remote(url.format(port=port)))
        await store.commit(APP, {"a": b"1"}, store.note("a", None))
        found = store.remote(APP)
        assert found is not None
        assert "remotes.allow_hosts" in (found.problem or "")
    assert seen == []


@pytest.mark.parametrize(
    ("url", "settings", "says"),
    [
        ("https://10.1.2.3/x.git", {}, "remotes.allow_hosts"),
        ("git@192.168.0.1:x.git", {}, "remotes.allow_hosts"),
        ("ssh://git@[::1]/x.git", {}, "remotes.allow_hosts"),
        ("https://localhost/x.git", {}, "remotes.allow_hosts"),
        ("https://git.localhost./x.git", {}, "remotes.allow_hosts"),
        ("https://169.254.169.254/x.git", {"allow_hosts": ["*"]}, "nobody may name"),
        ("https://git.example/x.git", {"deny_hosts": ["git.example"]}, "remotes.deny_hosts"),
        ("https://git.example/x.git", {"public_hosts": False}, "remotes.allow_hosts"),
        ("/srv/git/shop.git", {"paths": {"shop": ["/srv/git"]}}, "remotes.paths"),
        ("/srv/git/../other/desk.git", {"paths": {"*": ["/srv/git"]}}, "remotes.paths"),
        ("file:///srv/gitother/desk.git", {"paths": {"*": ["/srv/git"]}}, "remotes.paths"),
        ("file:///srv/git/%2e%2e/other/desk.git", {"paths": {"*": ["/srv/git"]}}, "remotes.paths"),
        ("https://git.example/x.git", {}, None),
        ("git@8.8.8.8:x.git", {}, None),
        ("https://10.1.2.3/x.git", {"allow_hosts": ["10.0.0.0/8"]}, None),
        ("https://localhost:8443/x.git", {"allow_hosts": ["localhost:8443"]}, None),
        ("file:///srv/git/desk.git", {"paths": {"desk": ["/srv/git/desk.git"]}}, None),
        ("/srv/git/desk.git", {"paths": {"*": ["/srv/git"]}}, None),
    ],
)
def test_what_can_be_known_without_asking_for_an_address_is_refused_at_once(
    url: str, settings: dict[str, Any], says: str | None
) -> None:
    refusal = reach_of(**settings).refusal(APP, Remote(url))
    assert (refusal is None) if says is None else (says in (refusal or ""))


async def test_a_folder_that_is_not_listed_is_neither_read_nor_written(tmp_path: Path) -> None:
    theirs = bare(tmp_path / "private.git")
    (tmp_path / "git").mkdir()
    (tmp_path / "git/link.git").symlink_to(theirs)
    reach = reach_of(paths={APP: [str(tmp_path / "git")]})
    store = DefinitionStore(tmp_path / "apps", remote_git=RemoteGit(reach=reach, timeout_s=20))
    await store.create(APP)
    for place in (theirs, tmp_path / "git/link.git"):
        store.set_remote(APP, Remote(str(place)))
        await store.commit(APP, {"a": str(place).encode()}, store.note("a", None))
        found = store.remote(APP)
        assert found is not None
        assert "remotes.paths" in (found.problem or "")
    assert git(theirs, "for-each-ref") == ""

    ours = bare(tmp_path / "git/desk.git")
    store.set_remote(APP, Remote(str(ours)))
    revision = await store.commit(APP, {"a": b"2"}, store.note("a", None))
    assert tip(ours) == revision


async def test_over_https_git_dials_the_address_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = bare(tmp_path / "remote.git")
    git(remote, "config", "http.receivepack", "true")
    with https_server(tmp_path, tmp_path, password="open-sesame", host="git.example") as (url, certificate):
        monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
        reach = reach_of(Resolver("127.0.0.1"), allow_hosts=["git.example"])
        secrets = for_every_application({"PASSWORD": "open-sesame"})
        store = DefinitionStore(tmp_path / "apps", remote_git=RemoteGit(secrets=secrets, reach=reach, timeout_s=20))
        await store.create(APP)
        elsewhere = url.replace("127.0.0.1", "git.example")
        store.set_remote(APP, Remote(f"{elsewhere}/remote.git", credential="secret:PASSWORD", username="ann"))
        revision = await store.commit(APP, {"a": b"1"}, store.note("a", None))
        assert store.remote(APP).problem is None, "no other resolver knows the host"
        assert tip(remote) == revision


async def test_over_ssh_git_dials_the_address_that_was_checked_and_holds_the_key_against_the_name(
    tmp_path: Path,
) -> None:
    require(SSHD is not None, "sshd")
    remote = bare(tmp_path / "remote.git")
    (tmp_path / "ssh").mkdir()
    with ssh_server(tmp_path / "ssh") as server:
        reach = reach_of(Resolver("127.0.0.1"), allow_hosts=["git.example"])
        secrets = for_every_application({"KEY": server.private_key})
        store = DefinitionStore(tmp_path / "apps", remote_git=RemoteGit(secrets=secrets, reach=reach, timeout_s=20))
        await store.create(APP)
        url = server.url.replace("127.0.0.1", "git.example")
        hosts = server.known_hosts.replace("127.0.0.1", "git.example")
        store.set_remote(APP, Remote(f"{url}{remote}", credential="secret:KEY", known_hosts=hosts))
        revision = await store.commit(APP, {"a": b"1"}, store.note("a", None))
        assert store.remote(APP).problem is None
        assert tip(remote) == revision
        store.set_remote(APP, Remote(f"{url}{remote}", credential="secret:KEY", known_hosts=server.known_hosts))
        await store.pull(APP)
        assert store.remote(APP).problem, "the key is known under the address alone"


async def test_a_host_that_moves_to_a_private_address_is_refused_from_then_on(tmp_path: Path) -> None:
    resolver = Resolver("8.8.8.8", "127.0.0.1")
    clock = FakeClock()
    settings = RemoteSettings()
    guard = AddressGuard(rules=settings, prefix="remotes", clock=clock, resolve=resolver)
    reach = RemoteReach(settings=settings, clock=clock, guard=guard)
    remote = Remote("https://git.example/x.git")
    assert await reach.addresses(remote) == ("8.8.8.8",)
    clock.advance(60)
    with pytest.raises(Exception, match=r"remotes\.allow_hosts"):
        await reach.addresses(remote)
    assert resolver.asked == 2
