"""core.state.*Definition*: the files of the calling application's definition (seed 003 §3.3.3).

All of them may be read, with the hashes of keys hidden; what a component may write is `files/**` (registry/data_files).
"""

from typing import Protocol

from uhlp.errors import DefinitionFileNotFound, PayloadTooLarge
from uhlp.registry.definition_files import DATA_FOLDER
from uhlp.registry.hidden_hashes import without_hashes
from uhlp.state.definition_repository import DefinitionEntry
from uhlp.state.state_manager import DefinitionFile
from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject, Tool, arguments

MOST_FILE_CHARACTERS = 1024 * 1024
"""Of one file, read or written."""
MOST_LISTED = 5_000

_PATH: JsonObject = {"type": "string", "minLength": 1, "maxLength": 512}
_REVISION: JsonObject = {"type": "string", "pattern": "^[0-9a-f]{7,40}$"}
"""A commit of main: the references of the framework's own have names, which do not match."""
_TEXT: JsonObject = {"type": "string", "maxLength": MOST_FILE_CHARACTERS}
_MESSAGE: JsonObject = {"type": "string", "minLength": 1, "maxLength": 1_000, "pattern": "\\S"}
_REPLACES: JsonObject = {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": False}
_WRITTEN = arguments(["resultingRevision"], resultingRevision={"type": "string"})


class DefinitionReads(Protocol):
    """What these tools need of the StateManager."""

    async def get_definition_file_content(
        self, app_id: str, file_path: str, revision: str | None = None
    ) -> DefinitionFile: ...

    async def list_definition_directory(
        self, app_id: str, directory_path: str = "", *, recursive: bool = False, revision: str | None = None
    ) -> list[DefinitionEntry]: ...


class DataFileWrites(Protocol):
    """What these tools need of the registry's DataFiles."""

    async def write(
        self, app_id: str, path: str, content: bytes | None, *, message: str, author: str, component_id: str,
        expected_base_revision: str | None = None,
    ) -> str: ...  # fmt: skip

    async def patch(
        self, app_id: str, path: str, diff_content: str, *, message: str, author: str, component_id: str,
        expected_base_revision: str,
    ) -> str: ...  # fmt: skip


class DefinitionState:
    """Reads and writes in the caller's name: application and author are the context's."""

    def __init__(self, *, state: DefinitionReads, files: DataFileWrites) -> None:
        self._state = state
        self._files = files

    def tools(self) -> tuple[Tool, ...]:
        """The five of them, as `CoreMCPServer` takes them."""
        return (
            Tool(
                name="core.state.getDefinitionFileContent",
                description="A text file of the application's definition, as it is or as it was at a revision.",
                input_schema=arguments(["filePath"], filePath=_PATH, revision=_REVISION),
                output_schema=arguments(
                    ["found", "content", "revision"],
                    found={"type": "boolean"},
                    content={"type": ["string", "null"]},
                    revision={"type": ["string", "null"], "description": "where it was read; null without a file"},
                ),
                run=self.get_content,
                annotations={"readOnlyHint": True, "openWorldHint": False},
            ),
            Tool(
                name="core.state.listDefinitionDirectory",
                description="Files and directories of a directory of the application's definition.",
                input_schema=arguments(
                    [],
                    directoryPath={"type": "string", "maxLength": 512, "default": ""},
                    recursive={"type": "boolean", "default": False},
                    revision=_REVISION,
                ),
                output_schema=arguments(
                    ["entries"],
                    entries={
                        "type": "array",
                        "maxItems": MOST_LISTED,
                        "items": arguments(
                            ["path", "type"], path={"type": "string"}, type={"enum": ["file", "directory"]}
                        ),
                    },
                ),
                run=self.list_directory,
                annotations={"readOnlyHint": True, "openWorldHint": False},
            ),
            Tool(
                name="core.state.setDefinitionFileContent",
                description="Create or replace a text file below files/, as one commit.",
                input_schema=arguments(
                    ["filePath", "content", "commitMessage"],
                    filePath=_PATH,
                    content=_TEXT,
                    commitMessage=_MESSAGE,
                    expectedBaseRevision=_REVISION,
                ),
                output_schema=_WRITTEN,
                run=self.set_content,
                annotations={**_REPLACES, "idempotentHint": True},
                changes_state=True,
            ),
            Tool(
                name="core.state.applyDefinitionDiff",
                description="Change one file below files/ by a unified diff against a revision, as one commit.",
                input_schema=arguments(
                    ["filePath", "diffContent", "expectedBaseRevision", "commitMessage"],
                    filePath=_PATH,
                    diffContent={**_TEXT, "minLength": 1},
                    expectedBaseRevision=_REVISION,
                    commitMessage=_MESSAGE,
                ),
                output_schema=_WRITTEN,
                run=self.apply_diff,
                annotations=_REPLACES,
                changes_state=True,
            ),
            Tool(
                name="core.state.deleteDefinitionFile",
                description="Remove a file below files/, as one commit.",
                input_schema=arguments(
                    ["filePath", "commitMessage"],
                    filePath=_PATH,
                    commitMessage=_MESSAGE,
                    expectedBaseRevision=_REVISION,
                ),
                output_schema=_WRITTEN,
                run=self.delete,
                annotations=_REPLACES,
                changes_state=True,
            ),
        )

    async def get_content(self, given: JsonObject, context: ToolContext) -> JsonObject:
        path = given["filePath"]
        try:
            file = await self._state.get_definition_file_content(context.app_id, path, given.get("revision"))
        except DefinitionFileNotFound:
            return {"found": False, "content": None, "revision": None}
        if len(file.content) > MOST_FILE_CHARACTERS:
            raise PayloadTooLarge(f"{path} is longer than {MOST_FILE_CHARACTERS} characters.")
        content = file.content if path.startswith(DATA_FOLDER) else without_hashes(file.content)
        return {"found": True, "content": content, "revision": file.revision}

    async def list_directory(self, given: JsonObject, context: ToolContext) -> JsonObject:
        entries = await self._state.list_definition_directory(
            context.app_id,
            given.get("directoryPath", ""),
            recursive=given.get("recursive", False),
            revision=given.get("revision"),
        )
        if len(entries) > MOST_LISTED:
            raise PayloadTooLarge(f"There are {len(entries)} entries; ask for directories of at most {MOST_LISTED}.")
        return {"entries": [{"path": entry.path, "type": entry.type} for entry in entries]}

    async def set_content(self, given: JsonObject, context: ToolContext) -> JsonObject:
        return await self._written(given, context, given["content"].encode("utf-8", "replace"))

    async def delete(self, given: JsonObject, context: ToolContext) -> JsonObject:
        return await self._written(given, context, None)

    async def apply_diff(self, given: JsonObject, context: ToolContext) -> JsonObject:
        revision = await self._files.patch(
            context.app_id,
            given["filePath"],
            given["diffContent"],
            message=given["commitMessage"],
            author=context.author,
            component_id=context.component_id,
            expected_base_revision=given["expectedBaseRevision"],
        )
        return {"resultingRevision": revision}

    async def _written(self, given: JsonObject, context: ToolContext, content: bytes | None) -> JsonObject:
        revision = await self._files.write(
            context.app_id,
            given["filePath"],
            content,
            message=given["commitMessage"],
            author=context.author,
            component_id=context.component_id,
            expected_base_revision=given.get("expectedBaseRevision"),
        )
        return {"resultingRevision": revision}
