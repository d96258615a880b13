"""Definitions that are pushed to another repository: with git itself on the other side."""

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.definition_secrets import for_every_application
from tests.unit.state.git_servers import SSHD, https_server, ssh_server
from uhlp.errors import RevisionConflict, ValidationFailed
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.remote import Remote
from uhlp.state.remote_git import RemoteGit

IDENTITY = ["-c", "user.name=x", "-c", "user.email=x@y"]
APP = "desk"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *IDENTITY, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def bare(path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(path)], check=True)
    return path


def push_there(remote: Path, work: Path, files: dict[str, str]) -> str:
    """Somebody else commits to the remote; their revision."""
    if not work.exists():
        subprocess.run(["git", "clone", "-q", str(remote), str(work)], check=True, capture_output=True)
        git(work, "checkout", "-q", "-B", "main")
    if git(remote, "for-each-ref", "refs/heads/main"):
        git(work, "pull", "-q", "--rebase", "origin", "main")
    for name, text in files.items():
        (work / name).write_text(text)
    git(work, "add", "-A")
    git(work, "commit", "-qm", "theirs")
    git(work, "push", "-q", "origin", "main")
    return git(work, "rev-parse", "HEAD")


def tip(repository: Path) -> str:
    return git(repository, "rev-parse", "refs/heads/main")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return bare(tmp_path / "remote.git")


@pytest.fixture
def store(tmp_path: Path) -> DefinitionStore:
    return DefinitionStore(tmp_path / "apps")


@pytest.fixture
async def put(store: DefinitionStore, remote: Path) -> Callable[..., Awaitable[str]]:
    await store.create(APP)
    store.set_remote(APP, Remote(str(remote)))

    async def write(path: str, text: str, **more: str) -> str:
        return await store.commit(APP, {path: text.encode()}, store.note(f"write {path}", "Ann"), **more)

    return write


async def test_every_change_is_on_the_remote_when_it_is_answered(store, put, remote, tmp_path):
    first = await put("a", "1\n")
    assert tip(remote) == first
    second = await put("b", "2\n")
    assert tip(remote) == second
    third = await store.revert(APP, second, store.note("Revert", None))
    assert tip(remote) == third
    assert store.remote(APP).problem is None
    assert await put("a", "1\n") == third


async def test_a_push_that_comes_late_is_repeated_on_top_of_what_came_meanwhile(store, put, remote, tmp_path):
    await put("a", "1\n")
    theirs = push_there(remote, tmp_path / "work", {"theirs": "x\n"})
    ours = await put("b", "2\n")
    assert tip(remote) == ours == (await store.tree(APP)).revision
    assert git(remote, "rev-parse", f"{ours}^") == theirs
    assert (await store.tree(APP)).files == {"a": b"1\n", "b": b"2\n", "theirs": b"x\n"}
    assert git(remote, "log", "-1", "--format=%an %s", ours) == "Ann write b"
    git(tmp_path / "apps/desk.git", "fsck", "--strict")


async def test_a_change_that_clashes_is_refused_and_kept_and_can_be_repeated(store, put, remote, tmp_path):
    await put("a", "1\n")
    theirs = push_there(remote, tmp_path / "work", {"a": "theirs\n"})
    with pytest.raises(RevisionConflict) as caught:
        await put("a", "ours\n")
    assert (caught.value.status, caught.value.details["paths"]) == (409, ["a"])
    assert tip(remote) == theirs == (await store.tree(APP)).revision
    kept = git(tmp_path / "apps/desk.git", "show", f"{caught.value.details['keptAt']}:a")
    assert kept == "ours"
    assert store.remote(APP).problem is None
    again = await put("a", "both\n")
    assert tip(remote) == again


async def test_an_expected_revision_is_kept_to_on_this_side(store, put, remote, tmp_path):
    base = await put("a", "1\n")
    theirs = push_there(remote, tmp_path / "work", {"theirs": "x\n"})
    ours = await put("b", "2\n", expected=base)
    assert git(remote, "rev-parse", f"{ours}^") == theirs
    with pytest.raises(RevisionConflict):
        await put("c", "3\n", expected=base)


async def test_a_remote_that_is_away_gets_everything_when_it_is_back(store, put, remote, tmp_path):
    await put("a", "1\n")
    remote.rename(tmp_path / "away")
    second = await put("b", "2\n")
    third = await put("c", "3\n")
    assert (await store.tree(APP)).revision == third != second
    assert "remote.git" in store.remote(APP).problem
    (tmp_path / "away").rename(remote)
    theirs = push_there(remote, tmp_path / "work", {"theirs": "x\n"})
    await store.pull(APP)
    assert store.remote(APP).problem is None
    assert tip(remote) == (await store.tree(APP)).revision
    assert git(remote, "rev-parse", "main~2") == theirs
    assert set((await store.tree(APP)).files) == {"a", "b", "c", "theirs"}


async def test_at_a_start_what_came_to_the_remote_is_taken_over_and_what_did_not_arrive_is_pushed(
    store, put, remote, tmp_path
):
    await put("a", "1\n")
    theirs = push_there(remote, tmp_path / "work", {"theirs": "x\n"})
    restarted = DefinitionStore(tmp_path / "apps")
    restarted.set_remote(APP, Remote(str(remote)))
    assert restarted.remote(APP).problem is not None
    await restarted.pull(APP)
    assert (await restarted.tree(APP)).revision == theirs
    assert restarted.remote(APP).problem is None

    offline = DefinitionStore(tmp_path / "apps")
    unpushed = await offline.commit(APP, {"b": b"2\n"}, offline.note("unpushed", None))
    await restarted.pull(APP)
    assert tip(remote) == unpushed


async def test_two_sides_that_have_gone_apart_are_told_and_nothing_is_lost(store, put, remote, tmp_path):
    await put("a", "1\n")
    other = DefinitionStore(tmp_path / "apps")
    ours = await other.commit(APP, {"a": b"ours\n"}, other.note("unpushed", None))
    theirs = push_there(remote, tmp_path / "work", {"a": "theirs\n"})
    await store.pull(APP)
    assert "gone apart" in store.remote(APP).problem
    assert (await store.tree(APP)).revision == ours
    assert tip(remote) == theirs


async def test_an_empty_and_a_filled_remote_can_be_begun_with(store, remote, tmp_path):
    theirs = push_there(remote, tmp_path / "work", {"a": "1\n", "b": "2\n"})
    await store.create(APP)
    store.set_remote(APP, Remote(str(remote)))
    ours = await store.commit(APP, {"a": b"1\n", "c": b"3\n"}, store.note("begin", None))
    assert git(remote, "rev-parse", f"{ours}^") == theirs
    assert set((await store.tree(APP)).files) == {"a", "b", "c"}

    await store.create("other")
    store.set_remote("other", Remote(str(remote)))
    with pytest.raises(RevisionConflict):
        await store.commit("other", {"a": b"another\n"}, store.note("begin", None))
    assert (await store.tree("other")).revision == ours


async def test_writers_of_two_servers_on_one_remote_lose_nothing(store, put, remote, tmp_path):
    other = DefinitionStore(tmp_path / "others")
    await other.create(APP)
    other.set_remote(APP, Remote(str(remote)))
    await put("first", "x")
    await other.pull(APP)

    async def write(one: DefinitionStore, name: str) -> None:
        for n in range(4):
            await one.commit(APP, {f"{name}{n}": b"x"}, one.note(name, None))

    await asyncio.gather(write(store, "a"), write(other, "b"))
    for one in (store, other):
        await one.pull(APP)
        assert one.remote(APP).problem is None
        assert set((await one.tree(APP)).files) == {"first", *(f"{name}{n}" for name in "ab" for n in range(4))}


async def test_a_hook_that_refuses_the_change_is_a_conflict_with_its_reason(store, put, remote):
    first = await put("a", "1\n")
    hook = remote / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no thanks >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RevisionConflict, match="hook declined"):
        await put("b", "2\n")
    assert (await store.tree(APP)).revision == first == tip(remote)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ot"), st.sampled_from("abc"), st.sampled_from("123")), max_size=4))
def test_whatever_both_sides_do_they_end_alike_and_every_accepted_change_is_there(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("steps")
    remote = bare(folder / "remote.git")

    async def play() -> None:
        store = DefinitionStore(folder / "apps")
        await store.create(APP)
        store.set_remote(APP, Remote(str(remote)))
        present: dict[str, str] = {}
        for side, name, text in steps:
            if side == "t" and present.get(name) != text:
                push_there(remote, folder / "work", {name: text})
            elif side == "o":
                try:
                    await store.commit(APP, {name: text.encode()}, store.note("ours", None))
                except RevisionConflict:
                    assert present.get(name) is not None
                    continue
            present[name] = text
        await store.pull(APP)
        if present:
            tree = await store.tree(APP)
            assert {name: raw.decode() for name, raw in tree.files.items()} == present
            assert tree.revision == tip(remote)

    asyncio.run(play())


def require(is_there: bool, what: str) -> None:
    if not is_there:
        if os.environ.get("UHLP_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{what} is not installed")
        pytest.skip(f"{what} is not installed")


async def test_over_ssh_the_key_is_a_secret_and_the_host_is_known(tmp_path, remote):
    require(SSHD is not None, "sshd")
    (tmp_path / "ssh").mkdir()
    with ssh_server(tmp_path / "ssh") as server:
        store = DefinitionStore(
            tmp_path / "apps",
            remote_git=RemoteGit(secrets=for_every_application({"KEY": server.private_key}), timeout_s=20),
        )
        await store.create(APP)
        url = f"{server.url}{remote}"
        known = Remote(url, credential="secret:KEY", known_hosts=server.known_hosts)
        store.set_remote(APP, known)
        first = await store.commit(APP, {"a": b"1"}, store.note("a", None))
        assert store.remote(APP).problem is None
        assert tip(remote) == first
        theirs = push_there(remote, tmp_path / "work", {"b": "2"})
        await store.pull(APP)
        assert (await store.tree(APP)).revision == theirs

        another = server.known_hosts.rsplit(" ", 2)[0] + " ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
        for wrong in (
            Remote(url, credential="secret:KEY", known_hosts=another),
            Remote(url, credential="secret:OTHER", known_hosts=server.known_hosts),
        ):
            store.set_remote(APP, wrong)
            await store.pull(APP)
            assert store.remote(APP).problem
            assert server.private_key not in store.remote(APP).problem


async def test_over_https_the_password_is_a_secret_and_never_told(tmp_path, remote, monkeypatch):
    git(remote, "config", "http.receivepack", "true")
    with https_server(tmp_path, tmp_path, password="open-sesame") as (url, certificate):
        monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
        secrets = {"PASSWORD": "open-sesame", "WRONG": "open-barley"}
        store = DefinitionStore(
            tmp_path / "apps", remote_git=RemoteGit(secrets=for_every_application(secrets), timeout_s=20)
        )
        await store.create(APP)
        store.set_remote(APP, Remote(f"{url}/remote.git", credential="secret:PASSWORD", username="ann"))
        first = await store.commit(APP, {"a": b"1"}, store.note("a", None))
        assert store.remote(APP).problem is None
        assert tip(remote) == first
        theirs = push_there(remote, tmp_path / "work", {"b": "2"})
        await store.pull(APP)
        assert (await store.tree(APP)).revision == theirs
        store.set_remote(APP, Remote(f"{url}/remote.git", credential="secret:WRONG", username="ann"))
        await store.pull(APP)
        assert "does not accept this one" in store.remote(APP).problem
        assert "barley" not in store.remote(APP).problem
        monkeypatch.delenv("GIT_SSL_CAINFO")
        store.set_remote(APP, Remote(f"{url}/remote.git", credential="secret:PASSWORD", username="ann"))
        await store.pull(APP)
        assert "certificate" in store.remote(APP).problem


async def test_a_remote_that_never_answers_is_given_up_and_waited_for_no_more(tmp_path):
    connections = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = DefinitionStore(tmp_path, remote_git=RemoteGit(timeout_s=0.5))
        await store.create(APP)
        store.set_remote(APP, Remote(f"http://127.0.0.1:{port}/x.git"))
        async with asyncio.timeout(20):
            revision = await store.commit(APP, {"a": b"1"}, store.note("a", None))
        assert "does not answer within" in store.remote(APP).problem
        assert (await store.tree(APP)).revision == revision
        asked = len(connections)
        for n in range(3):
            await store.commit(APP, {"b": f"{n}".encode()}, store.note("does not wait", None))
        assert len(connections) == asked > 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"repoUrl": "ext::sh -c touch% /tmp/x"}, "repoUrl"),
        ({"repoUrl": "--upload-pack=touch /tmp/x"}, "repoUrl"),
        ({"repoUrl": "-x@host:path"}, "repoUrl"),
        ({"repoUrl": "ssh://-oProxyCommand=x/path"}, "repoUrl"),
        ({"repoUrl": "ann@host:-x"}, "repoUrl"),
        ({"repoUrl": "ann@-host:x"}, "repoUrl"),
        ({"repoUrl": "ssh://-x@host/path"}, "repoUrl"),
        ({"repoUrl": "relative/path"}, "repoUrl"),
        ({"repoUrl": "http://example.org/x.git"}, "http only on this machine"),
        ({"repoUrl": "https://ann:pw@example.org/x.git"}, "secret:NAME"),
        ({"repoUrl": "https://token@example.org/x.git"}, "secret:NAME"),
        ({"repoUrl": "https://example.org/x.git", "credential": "ghp_x"}, "secret:NAME"),
        ({"repoUrl": "/srv/x.git", "branch": "--force"}, "branch"),
        ({"repoUrl": "/srv/x.git", "branch": "a..b"}, "branch"),
        ({"repoUrl": "/srv/x.git", "brnch": "main"}, "brnch"),
        ({"branch": "main"}, "repoUrl is missing"),
        ({"repoUrl": "https://[::1/x"}, "repoUrl"),
        ({"repoUrl": "https://ex%61mple.org/x"}, "without %"),
        ({"repoUrl": "file:///srv/x%0a.git"}, "printable"),
        ({"repoUrl": "file:///srv/x%ff.git"}, "printable"),
    ],
)
def test_what_git_could_take_for_a_command_or_a_credential_is_refused(params, message):
    with pytest.raises(ValidationFailed, match=message):
        Remote.of(params)


@pytest.mark.parametrize(
    "url",
    ["/srv/x.git", "file:///srv/x.git", "ssh://git@host:22/x.git", "git@host:x.git", "https://h/x", "http://127.0.0.1:1/x"],
)  # fmt: skip
def test_every_usual_form_of_a_url_is_taken(url):
    assert Remote.of({"repoUrl": url}).url == url
    assert Remote.of({}) is None


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/../other.git", "file:///none/%2e%2e{}"])
async def test_another_applications_repository_is_no_remote(tmp_path, form: str) -> None:
    store = DefinitionStore(tmp_path / "apps", remote_git=RemoteGit(timeout_s=20))
    for app_id in (APP, "other"):
        await store.create(app_id)
    secret = await store.commit("other", {"secret": b"theirs"}, store.note("theirs", None))
    store.set_remote(APP, Remote(form.format(tmp_path / "apps" / "other.git")))
    await store.commit(APP, {"a": b"1"}, store.note("a", None))
    await store.pull(APP)
    assert "among the server's own" in store.remote(APP).problem
    assert set((await store.tree(APP)).files) == {"a"}
    assert (await store.tree("other")).revision == secret
