"""DataFiles: `files/` of a definition, the one place where an application's own code may write (contracts §1).

What is served never stands there, so nothing that a sandbox writes changes what runs, who may call, or what it may do.
"""

from collections.abc import Mapping

from uhlp.errors import PayloadTooLarge, PermissionDenied
from uhlp.registry.definition_files import DATA_FOLDER
from uhlp.registry.definition_writer import Change, DefinitionWriter
from uhlp.registry.merge import merged_files
from uhlp.state.paths import check_path
from uhlp.state.state_manager import StateManager

MOST_FILES = 1_000
MOST_BYTES = 16 * 1024 * 1024
"""Of all data files together: every change of a definition reads and compiles it as a whole."""


class DataFiles:
    """Writes data files: each change is one commit in the name of who makes it."""

    def __init__(self, *, state: StateManager, writer: DefinitionWriter) -> None:
        self._state = state
        self._writer = writer

    async def write(
        self,
        app_id: str,
        path: str,
        content: bytes | None,
        *,
        message: str,
        author: str,
        component_id: str,
        expected_base_revision: str | None = None,
    ) -> str:
        """Put a file in the place of the present one (None: remove it); the resulting revision.

        Raises PermissionDenied for every path but those below `files/`, PayloadTooLarge where there is no room,
        DefinitionInvalid when it holds something like a key, RevisionConflict, DefinitionFileNotFound.
        """
        check_data_path(path)

        def edit(before: Mapping[str, bytes]) -> Mapping[str, bytes | None]:
            _check_room(merged_files(before, {path: content}))
            return {path: content}

        return await self._writer.write(
            app_id,
            Change(
                edit,
                " ".join(message.split()),  # a second paragraph could pass for the trailers of a decision
                author,
                trailers={"Component": component_id} if component_id else {},
                expected_base_revision=expected_base_revision,
            ),
        )

    async def patch(
        self,
        app_id: str,
        path: str,
        diff_content: str,
        *,
        message: str,
        author: str,
        component_id: str,
        expected_base_revision: str,
    ) -> str:
        """Change a file by a unified diff; raises as `write` does, RevisionConflict with details.hunk in between."""
        check_data_path(path)
        after = await self._state.patched_definition_file(app_id, path, diff_content, expected_base_revision)
        return await self.write(
            app_id,
            path,
            after,
            message=message,
            author=author,
            component_id=component_id,
            expected_base_revision=expected_base_revision,
        )


def check_data_path(path: str) -> str:
    """The path of a data file, unchanged. ValidationFailed for what is no path, PermissionDenied for any other."""
    if not check_path(path).startswith(DATA_FOLDER):
        raise PermissionDenied(
            f"A component may write below {DATA_FOLDER} alone, not to {path!r}: the rest of a definition needs an "
            "administrator's token.",
            details={"path": path},
        )
    return path


def _check_room(after: Mapping[str, bytes]) -> None:
    sizes = [len(content) for path, content in after.items() if path.startswith(DATA_FOLDER)]
    if len(sizes) > MOST_FILES or sum(sizes) > MOST_BYTES:
        raise PayloadTooLarge(
            f"An application keeps at most {MOST_FILES} files and {MOST_BYTES} bytes below {DATA_FOLDER}; remove some, "
            "or keep them as runtime values."
        )
