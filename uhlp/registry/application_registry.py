"""ApplicationRegistry: every application, its definition, routes, keys and permissions (seed 003 §3.1)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from uhlp.errors import (
    AppExists,
    AppNotFound,
    StateConflict,
)
from uhlp.metering import Meter, NullMeter
from uhlp.models.definition import AppDefinition
from uhlp.registry.api_keys import ApiKeyIdentity, ApiKeys
from uhlp.registry.component_compiler import ComparatorCheck
from uhlp.registry.config import RegistrySettings
from uhlp.registry.data_files import DataFiles
from uhlp.registry.definition_edits import (
    definition_files,
    masked_edit,
    with_api_key,
    with_handler,
    with_prompt,
    without_api_key,
)
from uhlp.registry.definition_writer import Change, DefinitionWriter, remote_of
from uhlp.registry.field_mask import parse_mask
from uhlp.registry.offers import Offers
from uhlp.registry.registry_reads import RegistryReads
from uhlp.registry.snapshot import AppSnapshot
from uhlp.registry.snapshot_store import INACTIVE_REF, AppStatus, SnapshotStore
from uhlp.state.state_manager import StateManager

_LOADED_AT_ONCE = 4


class ApplicationRegistry(RegistryReads):
    """The source of truth for what an application is. Requests read snapshots; everything else reads and writes git.

    Every write compiles the whole definition first, is one commit, and puts the new snapshot into service before it
    returns. `actor` is the author of that commit. `global_configuration` gives the outermost configuration level,
    `check_comparator` knows which policies outputs can be compared by, `offers` what this server has for definitions to
    name (without it any name will do).
    """

    def __init__(
        self,
        *,
        state: StateManager,
        config: RegistrySettings | None = None,
        meter: Meter | None = None,
        global_configuration: Callable[[], Mapping[str, Any]] = dict,
        check_comparator: ComparatorCheck = lambda policies: None,
        offers: Callable[[], Offers] | None = None,
    ) -> None:
        settings = config or RegistrySettings()
        self._state = state
        snapshots = SnapshotStore(
            state=state,
            meter=meter or NullMeter(),
            global_configuration=global_configuration,
            last_good_search=settings.last_good_search,
            check_comparator=check_comparator,
        )
        super().__init__(snapshots=snapshots, global_configuration=global_configuration)
        self._writer = DefinitionWriter(state=state, snapshots=self._snapshots, offers=offers)
        self.data_files = DataFiles(state=state, writer=self._writer)
        self._keys = ApiKeys(settings=settings)
        self._snapshots.on_change(self._index_keys)
        self._snapshots.on_change(self._follow_remote)

    # Snapshots

    async def snapshot_at(self, app_id: str, revision: str) -> AppSnapshot:
        """The application at a revision of its history (its id may be shortened), not put into service. NotFound, or
        DefinitionInvalid when that revision does not compile today.
        """
        tree = await self._state.read_tree(app_id, revision)
        return await self._snapshots.compile(app_id, tree.files, tree.revision)

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener(app_id)` after each swap of a snapshot and each removal."""
        self._snapshots.on_change(listener)

    async def load_all(self) -> None:
        """Bring every application that has a repository into service; a bad one does not stop the others."""
        turns = asyncio.Semaphore(_LOADED_AT_ONCE)

        async def load(app_id: str) -> None:
            async with turns:
                await self.refresh(app_id)

        await asyncio.gather(*(load(app_id) for app_id in await self._state.list_repositories()))

    async def refresh(self, app_id: str) -> None:
        """Follow the repository to its tip; a bad revision keeps the last good snapshot and shows as DEGRADED."""
        async with self._writer.lock(app_id):
            await self._snapshots.load(app_id)

    async def run_cycle(self) -> None:
        """Notice what was pushed into the repositories, made or removed from outside."""
        revisions, known = await self._state.revisions(), self._snapshots.known_revisions()
        for app_id, revision in revisions.items():
            if known.get(app_id) != revision and not self._snapshots.is_inactive(app_id):
                with suppress(AppNotFound):  # it has gone since it was listed, as one whose registration failed
                    await self.refresh(app_id)
        for app_id in known.keys() - revisions.keys():
            if app_id not in await self._state.list_repositories():
                self._snapshots.remove(app_id, inactive=False)

    async def run_remote_cycle(self) -> None:
        """Bring applications and their remotes together where they differ; after a start, all of them."""
        for app_id in self.known_app_ids():
            known = self._state.remote(app_id)
            if known is not None and known.problem is not None:
                await self._state.pull(app_id)
        await self.run_cycle()

    async def reload_configuration(self) -> None:
        """Merge a changed global configuration into every snapshot."""
        for app_id in self.app_ids():
            await self.refresh(app_id)

    def close(self) -> None:
        """Let go of the threads that check keys."""
        self._keys.close()

    # Life of an application

    async def check_application(self, app_id: str, files: Mapping[str, bytes]) -> AppSnapshot:
        """What these files would be as a new application; nothing is kept. DefinitionInvalid with all problems."""
        return await self._writer.compiled(app_id, files)

    async def register_application(
        self, definition: AppDefinition, *, files: Mapping[str, bytes] | None = None, actor: str | None = None
    ) -> str:
        """Make an application from its definition and files; the first revision.

        app.yaml and component_registry.yaml come from `definition` unless `files` hold them: then they are kept as
        they are, comments and all. AppExists when the id is taken, DefinitionInvalid with all problems.
        """
        app_id = definition.app_id
        if self._snapshots.is_known(app_id):
            raise AppExists(f"an application with the id {app_id} is registered already", details={"appId": app_id})
        content = definition_files(definition) | dict(files or {})
        revision = await self._writer.write(app_id, Change(lambda before: content, f"Register {app_id}", actor))
        if await self._state.read_ref_tree(app_id, INACTIVE_REF) is not None:
            await self._state.delete_ref(app_id, INACTIVE_REF)
        return revision

    async def apply_files(
        self,
        app_id: str,
        files: Mapping[str, bytes | None],
        *,
        message: str,
        actor: str | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """Write several files of an application (None deletes) as one commit; the resulting revision.

        A promoted handler and the keys made on the server stay, as registry.merge says.
        """
        self._require_known(app_id)
        change = Change(
            lambda before: files,
            message,
            actor,
            expected_base_revision=expected_base_revision,
            keeps_server_changes=True,
        )
        return await self._writer.write(app_id, change)

    async def apply_definition_diff(
        self,
        app_id: str,
        file_path: str,
        diff_content: str,
        expected_base_revision: str,
        *,
        message: str,
        actor: str | None = None,
    ) -> str:
        """Patch one file, if the whole still compiles then; RevisionConflict with details.hunk when it does not fit."""
        self._require_known(app_id)
        after = await self._state.patched_definition_file(app_id, file_path, diff_content, expected_base_revision)
        change = Change(
            lambda before: {file_path: after}, message, actor, expected_base_revision=expected_base_revision
        )
        return await self._writer.write(app_id, change)

    async def revert(self, app_id: str, revision: str, *, message: str | None = None, actor: str | None = None) -> str:
        """Undo one commit and keep what came after it, if what is left compiles; RevisionConflict on a clash."""
        self._require_known(app_id)
        return await self._writer.revert(app_id, revision, message=message, actor=actor)

    async def update_application(
        self,
        app_id: str,
        definition: Mapping[str, Any],
        *,
        update_mask: Sequence[str],
        actor: str | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """Take the fields that the mask names from a partial definition (camelCase); a named field it lacks is reset.

        ValidationFailed for a path that an AppDefinition does not have.
        """
        self._require_known(app_id)
        paths = parse_mask(update_mask)
        change = Change(
            masked_edit(definition, paths),
            f"Update {', '.join(update_mask)}",
            actor,
            expected_base_revision=expected_base_revision,
        )
        return await self._writer.write(app_id, change)

    async def deregister_application(self, app_id: str, *, delete_state: bool = False) -> None:
        """Take an application out of service; with `delete_state` its repository and runtime values go too."""
        async with self._writer.lock(app_id):
            if app_id not in await self._state.list_repositories():
                raise AppNotFound(f"no application has the id {app_id}", details={"appId": app_id})
            if delete_state:
                await self._state.delete_repository(app_id)
                await self._state.delete_runtime_values(app_id)
            else:
                await self._state.put_ref_tree(app_id, INACTIVE_REF, {"inactive": b""}, f"Deregister {app_id}")
            self._snapshots.remove(app_id, inactive=not delete_state)

    async def get_application_status(self, app_id: str) -> tuple[AppStatus, dict[str, Any]]:
        """The status, and revision, newest revision and problems. DEGRADED too while a remote lacks what main has."""
        status, details = self._snapshots.status(app_id)
        known = self._state.remote(app_id)
        if known is not None:
            details |= {"remote": known.remote.url, "remoteProblem": known.problem}
            if known.problem is not None:
                details = {"message": known.problem, **details}
                status = AppStatus.DEGRADED if status is AppStatus.ACTIVE else status
        return status, details

    # Implementations

    async def switch_to_handler(
        self,
        app_id: str,
        component_id: str,
        version: int,
        files: Mapping[str, bytes],
        *,
        message: str,
        trailers: Mapping[str, str] | None = None,
        function: str = "handle",
        actor: str | None = None,
        expected_spec_hash: str | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """Let a component run version N of its handler: its files and the switch are ONE commit.

        `files` lie below `_jit_code/<componentId>/v<N>/` and hold handler.py. The prompt stays named, so the model
        path remains. StateConflict when the component no longer means what `expected_spec_hash` says, RevisionConflict
        when the definition is not at `expected_base_revision`.
        """

        def check(snapshot: AppSnapshot) -> None:
            if expected_spec_hash not in (None, snapshot.components[component_id].spec_hash):
                raise StateConflict(f"{component_id} has changed its meaning since the handler was made")

        edit = with_handler(component_id, version, files, function)
        change = Change(edit, message, actor, trailers or {}, expected_base_revision, check=check)
        return await self._writer.write(app_id, change)

    async def switch_to_prompt(
        self,
        app_id: str,
        component_id: str,
        *,
        message: str,
        trailers: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
        actor: str | None = None,
        expected_base_revision: str | None = None,
    ) -> str:
        """Let a component run its prompt again, in one commit with `files` (a record of why)."""
        edit = with_prompt(component_id, files or {})
        return await self._writer.write(app_id, Change(edit, message, actor, trailers or {}, expected_base_revision))

    async def write_overrides(
        self,
        app_id: str,
        files: Mapping[str, bytes | None],
        *,
        message: str,
        trailers: Mapping[str, str] | None = None,
        actor: str | None = None,
        expected_base_revision: str,
        check: Callable[[AppSnapshot], None] = lambda snapshot: None,
    ) -> str:
        """Write override sets (None deletes) as one commit, if `check` lets what comes of it pass. RevisionConflict
        when the definition is not at `expected_base_revision`, where it was seen what they take the place of."""
        change = Change(lambda before: files, message, actor, trailers or {}, expected_base_revision, check=check)
        return await self._writer.write(app_id, change)

    # Keys and permissions

    def known_api_key(self, raw: str) -> ApiKeyIdentity | None:
        """The identity of a key that was checked before, in microseconds; None: ask `validate_api_key`."""
        return self._keys.known(raw)

    async def validate_api_key(self, raw: str) -> ApiKeyIdentity | None:
        """Whose key it is; None when it is unknown, disabled or wrong. The first check of a key costs an argon2id."""
        return await self._keys.validate(raw)

    async def create_api_key(
        self,
        app_id: str,
        description: str = "",
        permissions: Sequence[str] = ("invoke:*",),
        *,
        actor: str | None = None,
    ) -> tuple[str, str]:
        """A new key: (raw, key id). The raw key exists in this answer only."""
        self.snapshot(app_id)
        raw, key = await self._keys.create(permissions, description)
        await self._writer.write(app_id, Change(with_api_key(key), f"Create the API key {key.key_id}", actor))
        return raw, key.key_id

    async def delete_api_key(self, app_id: str, key_id: str, *, actor: str | None = None) -> None:
        """Revoke a key; it stops at once. NotFound when there is none."""
        self.snapshot(app_id)
        await self._writer.write(app_id, Change(without_api_key(key_id), f"Delete the API key {key_id}", actor))

    def _require_known(self, app_id: str) -> None:
        """Raise AppNotFound unless the application is in service, or waits in ERROR for a better definition."""
        if not self._snapshots.is_known(app_id):
            raise AppNotFound(f"no application has the id {app_id}", details={"appId": app_id})

    def _follow_remote(self, app_id: str) -> None:
        snapshot = self._snapshots.in_service(app_id)
        self._state.set_remote(app_id, None if snapshot is None else remote_of(snapshot))

    def _index_keys(self, app_id: str) -> None:
        snapshot = self._snapshots.in_service(app_id)
        self._keys.replace(app_id, {} if snapshot is None else snapshot.api_keys)
