"""Unified diffs as `git diff` prints them."""

import subprocess
from pathlib import Path

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uhlp.clock import FakeClock
from uhlp.errors import RevisionConflict, ValidationFailed
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.patches import apply_patch
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

LINES = "".join(f"line {number}\n" for number in range(40))
PATH = "prompts/a b.yaml"
texts = st.lists(st.sampled_from(["a", "b", "", " x", "-y", "+z", "@@ q", "\\ w", "é", "--- a", "c\r"]), max_size=30)


def diff_of(old: str | None, new: str | None, path: str = PATH) -> str:
    """libgit2's printing of a diff (the repository need not exist)."""
    return pygit2.Patch.create_from(
        None if old is None else old.encode(), None if new is None else new.encode(), path, path
    ).text


def git_diff(folder: Path, old: str | None, new: str | None) -> str:
    """What git's own `git diff` prints for a change from old to new."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@y", *arguments],
            capture_output=True,
            check=True,
        ).stdout.decode()

    file = folder / "f.txt"
    git("init", "-q")
    if old is not None:
        file.write_bytes(old.encode())
        git("add", ".")
    git("commit", "-qm", "old", "--allow-empty")
    if new is not None:
        file.write_bytes(new.encode())
    else:
        file.unlink()
    git("add", "-A")
    return git("diff", "--cached")


@settings(max_examples=60, deadline=None)
@given(old=texts, new=texts, ends=st.tuples(st.booleans(), st.booleans()))
def test_applying_a_diff_gives_what_the_diff_was_made_from(old, new, ends):
    before, after = ("\n".join(lines) + "\n" * end for lines, end in zip((old, new), ends, strict=True))
    if before == after:
        return
    assert apply_patch(diff_of(before, after), PATH, before.encode()) == after.encode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LINES, LINES.replace("line 3\n", "LINE 3\n").replace("line 30\n", "")),
        (None, "new\nfile"),
        ("gone\n", None),
        ("no end", "no end either"),
        ("no end", "an end\n"),
    ],
    ids=["several hunks", "new file", "deleted file", "no newline at end", "newline added"],
)
def test_gits_own_diffs_apply(tmp_path, old, new):
    result = apply_patch(git_diff(tmp_path, old, new), "f.txt", None if old is None else old.encode())
    assert result == (None if new is None else new.encode())


def test_a_diff_without_gits_header_is_understood():
    diff = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-one\n+two\n"
    assert apply_patch(diff, "f", b"one\n") == b"two\n"


def test_a_hunk_that_does_not_fit_is_shown():
    diff = diff_of(LINES, LINES.replace("line 3\n", "LINE 3\n").replace("line 30\n", "LINE 30\n"))
    with pytest.raises(RevisionConflict) as caught:
        apply_patch(diff, PATH, LINES.replace("line 30\n", "other\n").encode())
    assert "-line 30\n+LINE 30\n" in caught.value.details["hunk"]
    assert "LINE 3\n" not in caught.value.details["hunk"]


@pytest.mark.parametrize(
    "diff",
    [
        "",
        "hello",
        "@@ -1 +1 @@\n-a\n+b\n",
        diff_of("a\n", "b\n", "other"),
        diff_of("a\n", "b\n") + diff_of("a\n", "b\n", "second"),
        "diff --git a/prompts/a b.yaml b/x\nsimilarity index 100%\nrename from prompts/a b.yaml\nrename to x\n",
        f"diff --git a/{PATH} b/{PATH}\nold mode 100644\nnew mode 120000\n--- a/{PATH}\n+++ b/{PATH}\n"
        "@@ -1 +1 @@\n-a\n+/etc/passwd\n",
        "\ud800",
    ],
    ids=["empty", "prose", "no file", "another file", "two files", "rename", "symlink", "surrogate"],
)
def test_what_is_no_diff_of_this_one_file_is_refused(diff):
    with pytest.raises(ValidationFailed):
        apply_patch(diff, PATH, b"a\n")


async def test_a_diff_is_committed_against_its_base_only(tmp_path):
    runtime = SqliteRuntimeStore(":memory:")
    state = StateManager(definitions=DefinitionStore(tmp_path, clock=FakeClock()), runtime=runtime)
    await state.create_repository("desk")

    async def patch(old: str, new: str, base: str) -> str:
        return await state.apply_definition_diff("desk", PATH, diff_of(old, new), base, commit_message="patch")

    base = await state.set_definition_file_content("desk", PATH, LINES, commit_message="start")
    changed = LINES.replace("line 5\n", "LINE 5\n")
    after = await patch(LINES, changed, base)
    assert (await state.get_definition_file_content("desk", PATH)).content == changed

    with pytest.raises(RevisionConflict) as stale:
        await patch(changed, changed.replace("line 30\n", "LINE 30\n"), base)
    assert "-line 5\n+LINE 5\n" in stale.value.details["hunk"]
    with pytest.raises(RevisionConflict) as clash:
        await patch(LINES, LINES.replace("line 5\n", "other 5\n"), after)
    assert "+other 5\n" in clash.value.details["hunk"]
    assert (await state.read_tree("desk")).revision == after
    await runtime.aclose()
