"""Definitions in real git repositories, checked with git itself."""

import asyncio
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uhlp.clock import FakeClock
from uhlp.errors import (
    AppNotFound,
    Conflict,
    DefinitionFileNotFound,
    DefinitionInvalid,
    NotFound,
    RevisionConflict,
    ValidationFailed,
)
from uhlp.state.definition_repository import DefinitionEntry, DefinitionRepository
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.paths import check_path
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

APP = "desk"


@pytest.fixture
async def state(tmp_path: Path):
    runtime = SqliteRuntimeStore(":memory:")
    manager = StateManager(definitions=DefinitionStore(tmp_path, clock=FakeClock()), runtime=runtime)
    await manager.create_repository(APP)
    yield manager
    await runtime.aclose()


def git_bytes(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    repository = str(folder / f"{APP}.git")
    return subprocess.run(["git", "-C", repository, *arguments], input=stdin, capture_output=True, check=True).stdout


def git(folder: Path, *arguments: str, stdin: str = "") -> str:
    return git_bytes(folder, *arguments, stdin=stdin.encode()).decode()


def push_from_a_clone(tmp_path: Path, name: str, content: str) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(tmp_path / f"{APP}.git"), str(clone)], check=True)
    (clone / name).write_text(content)
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run(["git", *identity, "-C", str(clone), "commit", "-qam", "outside"], check=True)
    subprocess.run(["git", "-C", str(clone), "push", "-q"], check=True)


async def put(state: StateManager, path: str, content: str, **more) -> str:
    return await state.set_definition_file_content(APP, path, content, commit_message=f"write {path}", **more)


async def test_a_file_is_read_back_at_every_revision(state):
    first = await put(state, "prompts/a.yaml", "one")
    second = await put(state, "prompts/a.yaml", "two")

    assert (await state.get_definition_file_content(APP, "prompts/a.yaml")).content == "two"
    old = await state.get_definition_file_content(APP, "prompts/a.yaml", first)
    assert (old.content, old.revision) == ("one", first)
    assert (await state.read_tree(APP)).revision == second


async def test_several_files_are_one_commit_with_trailers_that_git_reads(state, tmp_path):
    await put(state, "old.txt", "x")
    revision = await state.commit(
        APP,
        {"_jit_code/c/v1/handler.py": b"a", "component_registry.yaml": b"b", "old.txt": None},
        message="Promote c\n\nBecause it agrees.",
        author="Ann <ann@example.org>",
        trailers={"Component": "c", "Decision": "promote\nFake: line"},
    )

    assert (await state.read_tree(APP)).files == {
        "_jit_code/c/v1/handler.py": b"a",
        "component_registry.yaml": b"b",
    }
    newest = (await state.history(APP))[0]
    assert newest.revision == revision
    assert newest.author == "Ann <ann@example.org>"
    assert newest.trailers == {"Component": "c", "Decision": "promote Fake: line"}
    assert git(tmp_path, "log", "-1", "--format=%(trailers:key=Component,valueonly)").strip() == "c"
    assert git(tmp_path, "fsck", "--strict", "--full") == ""


@pytest.mark.parametrize(
    ("author", "told"),
    [
        ("Ann <ann@example.org>\nparent 1", "Ann <ann@example.orgparent1>"),
        ("Ann\0\x1b[1m <a\nb>", "Ann [1m <ab>"),
        ("Ann <a<b>>", "Ann <ab>"),
        ("\u2028...", "UHLP <uhlp@localhost>"),
        ("'<':>", "UHLP <uhlp@localhost>"),
        ("", "UHLP <uhlp@localhost>"),
    ],
)
async def test_whatever_an_author_is_called_the_commit_can_be_read(state, tmp_path, author, told):
    revision = await state.commit(APP, {"a": b"x"}, message="m", author=author)
    (commit,) = await state.history(APP)
    assert (commit.revision, commit.author) == (revision, told)
    assert git(tmp_path, "fsck", "--strict", "--full") == ""


async def test_writing_what_is_there_makes_no_commit(state):
    first = await put(state, "a", "x")
    assert await put(state, "a", "x") == first


async def test_a_stale_base_revision_is_refused_and_changes_nothing(state):
    first = await put(state, "a", "1")
    second = await put(state, "b", "2")
    with pytest.raises(RevisionConflict) as caught:
        await put(state, "a", "3", expected_base_revision=first)
    assert caught.value.details == {"expectedBaseRevision": first, "currentRevision": second}
    assert (await state.read_tree(APP)).revision == second


async def test_many_writers_lose_nothing(state, tmp_path):
    await asyncio.gather(*(put(state, f"files/{number}.txt", str(number)) for number in range(40)))

    assert len((await state.read_tree(APP)).files) == 40
    assert len(await state.history(APP, limit=100)) == 40
    assert git(tmp_path, "fsck", "--strict") == ""


async def test_two_processes_worth_of_writers_lose_nothing(state, tmp_path):
    other = StateManager(definitions=DefinitionStore(tmp_path), runtime=SqliteRuntimeStore(":memory:"))
    await asyncio.gather(*(put((state, other)[number % 2], f"{number}.txt", "x") for number in range(20)))
    assert len((await state.read_tree(APP)).files) == 20


async def test_git_itself_reads_and_writes_the_repository(state, tmp_path):
    base = await put(state, "a.txt", "one\n")
    push_from_a_clone(tmp_path, "a.txt", "two\n")

    assert (await state.get_definition_file_content(APP, "a.txt")).content == "two\n"
    assert (await state.revisions())[APP] != base
    await put(state, "b.txt", "ours")
    assert len(await state.history(APP)) == 3


async def test_stale_locks_of_a_killed_process_do_not_block(state, tmp_path):
    await put(state, "a", "1")
    (tmp_path / f"{APP}.git/refs/heads/main.lock").touch()
    (tmp_path / f"{APP}.git/index.lock").touch()

    restarted = StateManager(definitions=DefinitionStore(tmp_path), runtime=SqliteRuntimeStore(":memory:"))
    await put(restarted, "a", "2")
    assert list(tmp_path.rglob("*.lock")) == []


async def test_a_lock_held_by_another_writer_ends_in_a_conflict(state, tmp_path):
    await put(state, "a", "1")
    (tmp_path / f"{APP}.git/refs/heads/main.lock").touch()
    with pytest.raises(Conflict, match="locked"):
        await put(state, "a", "2")


@pytest.mark.parametrize(
    "path",
    [
        *("../x", "a/../b", "/etc/passwd", "a//b", "", "a/", "a\\b", "a\x00b", "e\u0301", "\ud800", "x" * 513),
        *(
            ".git/config",
            "a/.GIT/x",
            "git~1/x",
            ".git /x",
            ".gitmodules",
            "a/.g\u200cit/x",
            ".git::$INDEX_ALLOCATION/x",
        ),
        *("GITMOD~1", "gi7eba~2", "\ufeff.git", "x" * 256, "a/" + "é" * 128),
    ],
)
async def test_paths_that_lead_elsewhere_are_refused(state, path):
    with pytest.raises(ValidationFailed):
        await put(state, path, "x")


NAMES = st.text(st.sampled_from(".gitGIT~1 modules:\u200c\ufeffé-x"), min_size=1, max_size=12)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(NAMES, min_size=1, max_size=2).map("/".join), min_size=20, max_size=40))
def test_git_accepts_every_path_that_is_accepted(tmp_path_factory, paths):
    root = tmp_path_factory.mktemp("paths")

    accepted = {}
    for number, path in enumerate(paths):
        with suppress(ValidationFailed):
            accepted[check_path(f"{number}/{path}")] = b"x"

    async def write() -> None:
        store = DefinitionStore(root)
        await store.create(APP)
        await store.commit(APP, accepted, store.note("all at once", None))
        assert (await store.tree(APP)).files == accepted

    asyncio.run(write())
    git(root, "fsck", "--strict")


async def test_paths_that_git_took_from_outside_are_refused_by_name(state, tmp_path):
    await put(state, "a", "x")
    blob = git(tmp_path, "hash-object", "-w", "--stdin", stdin="x").strip()
    made = f"100644 blob {blob}\tcaf\udce9\n".encode(errors="surrogateescape")
    tree = git_bytes(tmp_path, "mktree", stdin=made).decode()
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    git(
        tmp_path,
        "update-ref",
        "refs/heads/main",
        git(tmp_path, *identity, "commit-tree", tree.strip(), "-m", "é").strip(),
    )

    with pytest.raises(DefinitionInvalid) as caught:
        await state.read_tree(APP)
    assert caught.value.details["problems"][0]["file"] == "caf\ufffd"
    assert await state.list_definition_directory(APP) == [DefinitionEntry("caf\ufffd", "file")]


async def test_applications_do_not_wait_for_each_other(tmp_path):
    store = DefinitionStore(tmp_path)
    await store.create("slow")
    await store.create("quick")
    begun, may_end = threading.Event(), threading.Event()

    def hold(repository: DefinitionRepository) -> str:
        begun.set()
        assert may_end.wait(30)
        return repository.commit({"slow": b"x"}, store.note("slow", None))

    slow = asyncio.ensure_future(store.write("slow", hold))
    behind = asyncio.ensure_future(store.commit("slow", {"behind": b"x"}, store.note("behind", None)))
    assert await asyncio.to_thread(begun.wait, 30)
    async with asyncio.timeout(30):
        for n in range(5):
            await store.commit("quick", {"n": str(n).encode()}, store.note("quick", None))
    assert not slow.done()
    assert not behind.done()
    may_end.set()
    async with asyncio.timeout(30):
        await slow
        await behind
    assert (await store.tree("slow")).files.keys() == {"slow", "behind"}


async def test_a_file_does_not_become_a_directory_by_accident(state):
    await put(state, "a", "x")
    await put(state, "d/e", "x")
    with pytest.raises(Conflict):
        await put(state, "a/b", "x")
    with pytest.raises(Conflict):
        await put(state, "d", "x")
    with pytest.raises(Conflict):
        await state.commit(APP, {"n": b"1", "n/m": b"2"}, message="both")


async def test_symlinks_pushed_from_outside_are_refused(state, tmp_path):
    await put(state, "a", "x")
    blob = git(tmp_path, "hash-object", "-w", "--stdin", stdin="/etc/passwd").strip()
    tree = git(tmp_path, "mktree", stdin=f"120000 blob {blob}\tlink\n").strip()
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    commit = git(tmp_path, *identity, "commit-tree", tree, "-m", "link").strip()
    git(tmp_path, "update-ref", "refs/heads/main", commit)

    with pytest.raises(DefinitionInvalid) as caught:
        await state.read_tree(APP)
    assert caught.value.details["problems"][0]["file"] == "link"
    with pytest.raises(DefinitionInvalid):
        await state.get_definition_file_content(APP, "link")


async def test_directories_list_flat_and_recursively(state):
    await state.commit(APP, {"a/b/c": b"", "a/d": b"", "e": b""}, message="tree")

    assert await state.list_definition_directory(APP) == [
        DefinitionEntry("a", "directory"),
        DefinitionEntry("e", "file"),
    ]
    below = await state.list_definition_directory(APP, "a/", recursive=True)
    assert [entry.path for entry in below] == ["a/b", "a/b/c", "a/d"]
    with pytest.raises(DefinitionFileNotFound):
        await state.list_definition_directory(APP, "nowhere")


async def test_deleting_removes_the_file_and_its_empty_directories(state):
    await put(state, "a/b/c", "x")
    await put(state, "z", "x")
    await state.delete_definition_file(APP, "a/b/c", commit_message="gone")
    assert [entry.path for entry in await state.list_definition_directory(APP, recursive=True)] == ["z"]
    with pytest.raises(DefinitionFileNotFound):
        await state.delete_definition_file(APP, "a/b/c", commit_message="again")


async def test_history_of_a_path_names_only_its_changes(state):
    made = await put(state, "a/x", "1")
    await put(state, "b", "1")
    changed = await put(state, "a/x", "2")
    gone = await state.delete_definition_file(APP, "a/x", commit_message="gone")

    assert [commit.revision for commit in await state.history(APP, "a/x")] == [gone, changed, made]
    assert [commit.revision for commit in await state.history(APP, "a", limit=1)] == [gone]
    assert "-1\n" in await state.diff(APP, made, changed)


async def test_the_newest_changes_of_entries_of_a_directory_are_found_together(state):
    one = await put(state, "code/v1/handler.py", "1")
    await put(state, "code/v2/handler.py", "1")
    two = await put(state, "code/v2/test_handler.py", "1")
    await put(state, "other/v3", "1")

    assert await state.newest_changes(APP, "code", ["v1", "v2", "v3"]) == {"v1": one, "v2": two}
    assert await state.newest_changes(APP, "nowhere", ["v1"]) == {}


async def test_diffs_read_as_git_prints_them(state, tmp_path):
    lines = "".join(f"line {number}\n" for number in range(40))
    await put(state, "gone", "x")
    old = await put(state, "many", lines)
    new = await state.commit(
        APP,
        {"many": lines.replace("line 3\n", "").replace("line 30\n", "LINE").encode(), "new/é": b"\xff", "gone": None},
        message="change",
    )
    printed = git_bytes(tmp_path, "diff", "--no-renames", old, new)
    assert await state.diff(APP, old, new) == printed.decode(errors="replace")


async def test_revert_undoes_one_commit_and_keeps_later_ones(state, tmp_path):
    await put(state, "d/a", "1\n")
    await put(state, "a", "1\n")
    wrong = await put(state, "a", "2\n")
    await put(state, "b", "kept\n")
    left = await state.reverted_tree(APP, wrong)
    await state.revert(APP, wrong, author="Ann", expected_base_revision=left.revision)
    assert (await state.read_tree(APP)).files == left.files == {"a": b"1\n", "b": b"kept\n", "d/a": b"1\n"}
    assert git(tmp_path, "fsck", "--strict") == ""
    with pytest.raises(RevisionConflict):
        await state.revert(APP, wrong, expected_base_revision=left.revision)


async def test_revert_that_clashes_with_later_changes_is_refused(state):
    await put(state, "a", "1\n")
    wrong = await put(state, "a", "2\n")
    last = await put(state, "a", "3\n")
    with pytest.raises(RevisionConflict) as caught:
        await state.revert(APP, wrong, author="Ann")
    assert caught.value.details["paths"] == ["a"]
    assert (await state.read_tree(APP)).revision == last


async def test_own_references_hold_trees_beside_main(state, tmp_path):
    await put(state, "a", "1")
    ref = "refs/uhlp/candidates/c-1"
    assert await state.read_ref_tree(APP, ref) is None
    await state.put_ref_tree(APP, ref, {"handler.py": b"x"}, "Candidate c-1")
    await state.put_ref_tree(APP, ref, {"other.py": b"y"}, "Candidate c-1 again")
    assert await state.read_ref_tree(APP, ref) == {"other.py": b"y"}
    assert (await state.read_tree(APP)).files == {"a": b"1"}
    assert git(tmp_path, "fsck", "--strict") == ""
    await state.delete_ref(APP, ref)
    await state.delete_ref(APP, ref)
    assert await state.read_ref_tree(APP, ref) is None
    with pytest.raises(ValidationFailed):
        await state.put_ref_tree(APP, "refs/heads/main", {"a": b""}, "not ours")


async def test_unknown_applications_and_revisions_are_named(state):
    with pytest.raises(AppNotFound):
        await state.read_tree("nobody")
    with pytest.raises(AppNotFound):
        await state.read_tree("../desk")
    with pytest.raises(NotFound):
        await state.read_tree(APP)
    await put(state, "a", "1")
    with pytest.raises(NotFound):
        await state.read_tree(APP, "0" * 40)


async def test_binary_content_is_not_offered_as_text(state):
    await state.commit(APP, {"a": b"\xff\xfe"}, message="binary")
    with pytest.raises(ValidationFailed):
        await state.get_definition_file_content(APP, "a")
    with pytest.raises(ValidationFailed):
        await put(state, "b", "\ud800")


async def test_a_deleted_repository_is_gone_and_can_be_made_anew(state, tmp_path):
    await put(state, "a", "1")
    assert await state.list_repositories() == [APP]
    await state.delete_repository(APP)
    assert await state.list_repositories() == []
    assert list(tmp_path.iterdir()) == []
    await state.create_repository(APP)
    await put(state, "a", "2")
    assert len(await state.history(APP)) == 1


async def test_runtime_values_belong_to_one_application(state):
    await state.set_runtime_value(APP, "count", 2)
    assert await state.increment_runtime_value(APP, "count", 3) == 5
    assert not (await state.get_runtime_value("other", "count")).found
    with pytest.raises(ValidationFailed):
        await state.set_runtime_value(APP, "k\n", 1)
    assert await state.delete_runtime_values(APP) == 1
    assert not await state.delete_runtime_value(APP, "count")


async def test_every_move_of_main_is_seen_however_git_keeps_its_references(state, tmp_path):
    assert await state.revisions() == {}
    first = await put(state, "a.txt", "1\n")
    assert await state.revisions() == await state.revisions() == {APP: first}
    git(tmp_path, "pack-refs", "--all")
    assert await state.revisions() == {APP: first}
    push_from_a_clone(tmp_path, "a.txt", "2\n")
    second = git(tmp_path, "rev-parse", "main").strip()
    assert await state.revisions() == {APP: second}
    git(tmp_path, "update-ref", "refs/heads/main", first)
    assert await state.revisions() == {APP: first}
    git(tmp_path, "pack-refs", "--all")
    git(tmp_path, "gc", "-q")
    assert await state.revisions() == {APP: first}
    await state.delete_repository(APP)
    assert await state.revisions() == {}
