"""DefinitionWriter: changes an application's files. What is committed has compiled before, as a whole."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from uhlp.errors import Conflict, DefinitionInvalid, NotFound, RevisionConflict, UhlpError
from uhlp.keyed_locks import KeyedLocks
from uhlp.registry.definition_files import unused_versions
from uhlp.registry.merge import kept_by_server, merged_files
from uhlp.registry.offers import Offers
from uhlp.registry.snapshot import AppSnapshot
from uhlp.registry.snapshot_store import SnapshotStore
from uhlp.state.remote import Remote
from uhlp.state.state_manager import StateManager


def remote_of(snapshot: AppSnapshot) -> Remote | None:
    """The remote that a definition names."""
    return Remote.of(snapshot.definition.state_store_config.params)


Changes = Mapping[str, bytes | None]
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `edit` turns the present files into what to write (None deletes); it may run again on newer files.

    `keeps_server_changes` applies the merge rules of registry.merge; `check` may refuse the compiled result.
    """

    edit: Callable[[Mapping[str, bytes]], Changes]
    message: str
    actor: str | None = None
    trailers: Mapping[str, str] = field(default_factory=dict)
    expected_base_revision: str | None = None
    keeps_server_changes: bool = False
    check: Callable[[AppSnapshot], None] = lambda snapshot: None


class DefinitionWriter:
    """Writers and refreshes of one application follow each other, so that snapshots never go back in time.

    A change may name what the server `offers`, and what the application names already.
    """

    def __init__(
        self, *, state: StateManager, snapshots: SnapshotStore, offers: Callable[[], Offers] | None = None
    ) -> None:
        self._state = state
        self._offers = offers
        self._snapshots = snapshots
        self._locks = KeyedLocks[str]()

    def lock(self, app_id: str) -> asyncio.Lock:
        """Held by whoever changes or reloads the application."""
        return self._locks[app_id]

    async def compiled(self, app_id: str, files: Mapping[str, bytes]) -> AppSnapshot:
        """A snapshot of files that are nobody's yet; DefinitionInvalid with all problems."""
        return await self._snapshots.compile(app_id, files, "", offers=self._nameable(None))

    async def write(self, app_id: str, change: Change) -> str:
        """Compile, commit and put into service; the resulting revision.

        Raises DefinitionInvalid with all problems, RevisionConflict for a stale expected_base_revision or a change
        that clashes with the remote's.
        """
        async with self.lock(app_id):
            for _ in range(_TRIES):
                try:
                    return await self._attempt(app_id, change)
                except RevisionConflict as error:
                    if change.expected_base_revision is not None or "keptAt" in error.details:
                        raise  # told by the caller, or by the remote, that somebody else was first
            raise Conflict("the definition keeps changing from outside; repeat the change later")

    async def revert(self, app_id: str, revision: str, *, message: str | None, actor: str | None) -> str:
        """Undo one commit, if what is left compiles; it may be the present revision that does not."""
        async with self.lock(app_id):
            for _ in range(_TRIES):
                left = await self._state.reverted_tree(app_id, revision)
                snapshot = await self._snapshots.compile(app_id, left.files, left.revision)
                try:
                    resulting = await self._state.revert(
                        app_id, revision, message=message, author=actor, expected_base_revision=left.revision
                    )
                except RevisionConflict as error:
                    if "currentRevision" not in error.details:
                        raise
                    continue
                await self._serve(app_id, snapshot, resulting)
                return resulting
            raise Conflict("the definition keeps changing from outside; repeat the change later")

    async def _attempt(self, app_id: str, change: Change) -> str:
        current = self._snapshots.in_service(app_id)
        if current is not None:
            in_use = await self._in_use(app_id, current)
            if in_use is not None:
                with suppress(DefinitionInvalid):  # maybe only for want of a version that was not read
                    return await self._commit(app_id, change, current.revision, in_use)
        return await self._commit(app_id, change, *await self._present(app_id))

    async def _commit(self, app_id: str, change: Change, base: str | None, before: dict[str, bytes]) -> str:
        expected = change.expected_base_revision
        if expected is not None and expected != base:
            raise RevisionConflict(details={"expectedBaseRevision": expected, "currentRevision": base})
        changes = await asyncio.to_thread(change.edit, before)
        after = merged_files(before, changes)
        current = self._snapshots.in_service(app_id)
        offers = self._nameable(current)
        snapshot = await self._snapshots.compile(app_id, after, base or "", offers=offers)
        if change.keeps_server_changes and current is not None:
            kept = await asyncio.to_thread(kept_by_server, current, snapshot, after)
            if kept:
                changes, after = {**changes, **kept}, {**after, **kept}
                snapshot = await self._snapshots.compile(app_id, after, base or "", offers=offers)
        change.check(snapshot)
        if base is None:
            await self._state.create_repository(app_id)
        self._state.set_remote(app_id, remote_of(snapshot))
        try:
            revision = await self._state.commit(
                app_id,
                changes,
                message=change.message,
                author=change.actor,
                trailers=change.trailers,
                expected_base_revision=base,
            )
        except UhlpError:
            self._state.set_remote(app_id, None if current is None else remote_of(current))
            if base is None:
                await self._state.delete_repository(app_id)
            raise
        await self._serve(app_id, snapshot, revision)
        return revision

    def _nameable(self, current: AppSnapshot | None) -> Offers | None:
        if self._offers is None:
            return None
        offers = self._offers()
        return offers if current is None else offers.with_names_of(current.definition)

    async def _serve(self, app_id: str, snapshot: AppSnapshot, revision: str) -> None:
        """Put a committed snapshot into service; where a remote may have had a word, what main really holds."""
        if remote_of(snapshot) is None:
            self._snapshots.swap(replace(snapshot, revision=revision))
        else:
            await self._snapshots.load(app_id)

    async def _in_use(self, app_id: str, current: AppSnapshot) -> dict[str, bytes] | None:
        """The files in service without the handlers of earlier versions: they compiled when they were committed, and
        reading and checking all of them with every change would take ever longer. None where the repository is not at
        what is in service: then nobody has compiled it as a whole.
        """
        scripts = [one.definition.task_details.script for one in current.components.values()]
        try:
            tree = await self._state.read_tree(app_id, without=unused_versions(scripts))
        except NotFound:
            return None
        return tree.files if tree.revision == current.revision else None

    async def _present(self, app_id: str) -> tuple[str | None, dict[str, bytes]]:
        try:
            tree = await self._state.read_tree(app_id)
        except NotFound:  # no repository, or one without a commit
            return None, {}
        return tree.revision, tree.files
