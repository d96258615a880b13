"""StateManager: everything the framework keeps of an application (seed 003 §3.3).

Definition state is files in the application's git repository; runtime state is JSON values by key.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from uhlp.errors import ValidationFailed
from uhlp.metering import Meter
from uhlp.state.application_values import ApplicationValues
from uhlp.state.config import RuntimeLimits
from uhlp.state.definition_repository import Commit, DefinitionEntry, DefinitionTree
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.remote import Remote
from uhlp.state.remote_sync import RemoteState
from uhlp.state.runtime_store import MOST_LISTED, RuntimeStore, RuntimeValue, StreamEntry
from uhlp.state.store_latency import StoreLatency
from uhlp.state.trees import none_left_out


@dataclass(frozen=True, slots=True)
class DefinitionFile:
    """A text file of a definition and the revision it was read at."""

    content: str
    revision: str


class StateManager:
    """One facade over the definition store and the runtime store.

    Revisions are git commit ids. Every write of definitions is one commit, on the disk before the call returns.
    `author` is `Name <mail>` or a bare name. Unknown applications raise AppNotFound.
    """

    def __init__(
        self,
        *,
        definitions: DefinitionStore,
        runtime: RuntimeStore,
        limits: RuntimeLimits | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._of_definitions = StoreLatency("definitions", meter=meter)
        self._of_runtime = StoreLatency("runtime", meter=meter)
        self._definitions = definitions
        self._values = ApplicationValues(store=runtime, limits=limits or RuntimeLimits())
        self.framework = FrameworkValues(runtime)

    async def create_repository(self, app_id: str) -> None:
        """Make an application's empty repository; nothing happens when there is one."""
        await self._definitions.create(app_id)

    async def delete_repository(self, app_id: str) -> None:
        """Remove an application's repository with its history."""
        await self._definitions.delete(app_id)

    async def list_repositories(self) -> list[str]:
        """The applications that have a repository."""
        return await self._definitions.app_ids()

    async def definitions_unready(self) -> str | None:
        """Why definitions cannot be written now, for /readyz; None when they can."""
        return await self._definitions.unready()

    async def revisions(self) -> dict[str, str]:
        """The present revision of every application that has a commit."""
        return await self._definitions.revisions()

    async def get_definition_file_content(
        self, app_id: str, file_path: str, revision: str | None = None
    ) -> DefinitionFile:
        """A text file, now or at any revision; DefinitionFileNotFound when it is not there."""
        raw, at = await self._definitions.file(app_id, file_path, revision)
        try:
            return DefinitionFile(raw.decode(), at)
        except UnicodeDecodeError as error:
            raise ValidationFailed(f"{file_path} is not UTF-8 text") from error

    async def set_definition_file_content(
        self,
        app_id: str,
        file_path: str,
        content: str,
        *,
        commit_message: str,
        author: str | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """Create or replace a text file; the resulting revision. RevisionConflict when main has moved on."""
        return await self.commit(
            app_id,
            {file_path: _utf8(content, "content")},
            message=commit_message,
            author=author,
            expected_base_revision=expected_base_revision,
        )

    async def apply_definition_diff(
        self,
        app_id: str,
        file_path: str,
        diff_content: str,
        expected_base_revision: str,
        *,
        commit_message: str,
        author: str | None = None,
    ) -> str:
        """Apply a unified diff to one file; RevisionConflict with details.hunk, and no change, when it does not fit."""
        note = self._definitions.note(_message(commit_message), author)
        with self._of_definitions.of("commit"):
            return await self._definitions.apply_diff(app_id, file_path, diff_content, expected_base_revision, note)

    async def patched_definition_file(
        self, app_id: str, file_path: str, diff_content: str, expected_base_revision: str
    ) -> bytes | None:
        """What `apply_definition_diff` would make of a file (None: remove it), with its errors; nothing is changed."""
        return await self._definitions.patched(app_id, file_path, diff_content, expected_base_revision)

    async def delete_definition_file(
        self,
        app_id: str,
        file_path: str,
        *,
        commit_message: str,
        author: str | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """Remove a file; DefinitionFileNotFound when it is not there."""
        return await self.commit(
            app_id,
            {file_path: None},
            message=commit_message,
            author=author,
            expected_base_revision=expected_base_revision,
        )

    async def list_definition_directory(
        self, app_id: str, directory_path: str = "", *, recursive: bool = False, revision: str | None = None
    ) -> list[DefinitionEntry]:
        """Files and directories of a directory, with paths from the root."""
        return await self._definitions.entries(app_id, directory_path, recursive=recursive, revision=revision)

    async def commit(
        self,
        app_id: str,
        changes: Mapping[str, bytes | None],
        *,
        message: str,
        author: str | None = None,
        trailers: Mapping[str, str] | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """One commit with all `changes` (None deletes); the resulting revision, the present one if nothing differs."""
        note = self._definitions.note(_message(message), author, trailers)
        with self._of_definitions.of("commit"):
            return await self._definitions.commit(app_id, changes, note, expected=expected_base_revision)

    async def read_tree(
        self, app_id: str, revision: str | None = None, *, without: Callable[[str], bool] = none_left_out
    ) -> DefinitionTree:
        """Every file at a revision, but for those in folders (`a/b`) that `without` holds of: they are not read."""
        with self._of_definitions.of("read"):
            return await self._definitions.tree(app_id, revision, without=without)

    async def history(self, app_id: str, path: str | None = None, limit: int = 50) -> list[Commit]:
        """The newest commits first; with `path` only those that changed it."""
        return await self._definitions.history(app_id, path, limit)

    async def newest_changes(self, app_id: str, directory: str, names: Collection[str]) -> dict[str, str]:
        """The newest commit that changed each of these entries of a directory; one that none did is left out."""
        return await self._definitions.newest_changes(app_id, directory, names)

    async def diff(self, app_id: str, old: str, new: str) -> str:
        """What changed from one revision to another, as `git diff --no-renames` prints it."""
        return await self._definitions.diff(app_id, old, new)

    async def revert(
        self,
        app_id: str,
        revision: str,
        *,
        message: str | None = None,
        author: str | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """Undo what the commit `revision` did and keep what came after (git's revert); RevisionConflict on a clash."""
        note = self._definitions.note(_message(message or f"Revert {revision}"), author)
        with self._of_definitions.of("commit"):
            return await self._definitions.revert(app_id, revision, note, expected=expected_base_revision)

    async def reverted_tree(self, app_id: str, revision: str) -> DefinitionTree:
        """What `revert` would leave, and the revision it would be made on; nothing is changed."""
        return await self._definitions.reverted(app_id, revision)

    def set_remote(self, app_id: str, remote: Remote | None) -> None:
        """Where the application's definitions are pushed after each change; None: nowhere."""
        self._definitions.set_remote(app_id, remote)

    def remote(self, app_id: str) -> RemoteState | None:
        """The application's remote, and why it does not have what main has; None without a remote."""
        return self._definitions.remote(app_id)

    async def pull(self, app_id: str) -> None:
        """Bring main and the application's remote together, as far as they agree."""
        await self._definitions.pull(app_id)

    async def put_ref_tree(self, app_id: str, ref: str, files: Mapping[str, bytes], message: str) -> str:
        """Make `files` the whole tree of a reference below refs/uhlp/; the commit that holds them."""
        return await self._definitions.put_ref_tree(app_id, ref, files, self._definitions.note(message, None))

    async def read_ref_tree(self, app_id: str, ref: str) -> dict[str, bytes] | None:
        """The files of a reference below refs/uhlp/; None when there is no such reference."""
        tree = await self._definitions.ref_tree(app_id, ref)
        return None if tree is None else tree.files

    async def delete_ref(self, app_id: str, ref: str) -> None:
        """Remove a reference below refs/uhlp/."""
        await self._definitions.delete_ref(app_id, ref)

    async def set_runtime_value(self, app_id: str, key: str, value: Any, ttl_seconds: float | None = None) -> None:
        """Put a JSON value under a key of the application; with `ttl_seconds` for so long."""
        with self._of_runtime.of("set"):
            await self._values.set(app_id, key, value, ttl_seconds)

    async def get_runtime_value(self, app_id: str, key: str) -> RuntimeValue:
        """The value under a key of the application."""
        with self._of_runtime.of("get"):
            return await self._values.get(app_id, key)

    async def delete_runtime_value(self, app_id: str, key: str) -> bool:
        """Remove a key; True when there was one."""
        with self._of_runtime.of("delete"):
            return await self._values.delete(app_id, key)

    async def increment_runtime_value(self, app_id: str, key: str, by: int = 1) -> int:
        """Add to an integer atomically; the sum."""
        with self._of_runtime.of("increment"):
            return await self._values.increment(app_id, key, by)

    async def compare_and_set_runtime_value(
        self, app_id: str, key: str, expected: RuntimeValue, value: Any, ttl_seconds: float | None = None
    ) -> bool:
        """Put a value if the present one is still `expected` (MISSING: none); whether it was put."""
        with self._of_runtime.of("compare_and_set"):
            return await self._values.compare_and_set(app_id, key, expected, value, ttl_seconds)

    async def append_runtime_entry(
        self, app_id: str, key: str, entry: Any, *, most: int | None = None, ttl_seconds: float | None = None
    ) -> int:
        """Add an entry to a stream that keeps its newest `most`; the entry's number."""
        with self._of_runtime.of("append"):
            return await self._values.append(app_id, key, entry, most, ttl_seconds)

    async def list_runtime_entries(
        self, app_id: str, key: str, *, after: int = 0, limit: int = MOST_LISTED
    ) -> list[StreamEntry]:
        """The entries of a stream behind number `after`, oldest first."""
        with self._of_runtime.of("list"):
            return await self._values.entries(app_id, key, after, limit)

    async def list_runtime_keys(
        self, app_id: str, prefix: str = "", *, after: str = "", limit: int = MOST_LISTED
    ) -> list[str]:
        """The application's keys that begin with `prefix` and stand behind `after`, in order."""
        with self._of_runtime.of("list"):
            return await self._values.keys(app_id, prefix, after, limit)

    async def delete_runtime_values(self, app_id: str) -> int:
        """Remove every runtime value of an application; how many there were."""
        return await self._values.delete_all(app_id)


def _message(message: str) -> str:
    if not message.strip():
        raise ValidationFailed("commitMessage must say why")
    _utf8(message, "commitMessage")
    return message.replace("\x00", "")


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValidationFailed(f"{name} is not valid Unicode") from error
