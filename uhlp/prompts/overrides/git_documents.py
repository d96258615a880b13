"""GitDocuments: override sets as `overrides/<tag>/<prompt>.yaml` of the application's repository."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Protocol

import yaml
from pydantic import ValidationError

from uhlp.errors import DefinitionFileNotFound, DefinitionInvalid, NotFound, RevisionConflict
from uhlp.models.faults import fault_message
from uhlp.prompts.overrides.override_documents import ChangeNote, Held
from uhlp.prompts.overrides.override_set import OverrideId, OverrideSet
from uhlp.state.definition_repository import Commit, DefinitionEntry, DefinitionTree
from uhlp.state.state_manager import DefinitionFile
from uhlp.strict_yaml import YamlDocument

FOLDER = "overrides"


class DefinitionFiles(Protocol):
    """What these documents need of an application's files (StateManager has it)."""

    async def get_definition_file_content(
        self, app_id: str, file_path: str, revision: str | None = None
    ) -> DefinitionFile: ...
    async def read_tree(self, app_id: str, revision: str | None = None) -> DefinitionTree: ...
    async def list_definition_directory(
        self, app_id: str, directory_path: str = "", *, recursive: bool = False, revision: str | None = None
    ) -> list[DefinitionEntry]: ...
    async def history(self, app_id: str, path: str | None = None, limit: int = 50) -> list[Commit]: ...


class WriteFiles(Protocol):
    """Makes one commit, if the application's newest revision is still `expected`; RevisionConflict otherwise."""

    async def __call__(
        self,
        app_id: str,
        changes: Mapping[str, bytes | None],
        *,
        message: str,
        author: str | None,
        expected_base_revision: str,
    ) -> str: ...


class GitDocuments:
    """Durable, with git's history. What is in service follows the commit, as with every other file."""

    def __init__(self, *, files: DefinitionFiles, write: WriteFiles) -> None:
        self._files = files
        self._write = write

    async def read(self, identity: OverrideId) -> Held:
        tree = await self._files.read_tree(identity.ns)
        raw = tree.files.get(override_path(identity))
        return Held(None if raw is None else read_override_file(raw, path=override_path(identity)), tree.revision)

    async def swap(self, identity: OverrideId, held: Held, overrides: OverrideSet | None, note: ChangeNote) -> bool:
        if overrides is None and held.overrides is None:
            return True
        raw = None if overrides is None else override_file(overrides)
        try:
            await self._write(
                identity.ns,
                {override_path(identity): raw},
                message=note.message,
                author=note.author,
                expected_base_revision=held.token,
            )
        except RevisionConflict:
            return False
        return True

    async def identities(self, ns: str, key: str | None = None) -> list[OverrideId]:
        try:
            entries = await self._files.list_definition_directory(ns, FOLDER, recursive=True)
        except DefinitionFileNotFound:
            return []
        found = [identity for entry in entries if (identity := override_of_path(ns, entry.path)) is not None]
        return sorted(identity for identity in found if key in (None, identity.key))

    async def history(self, identity: OverrideId, limit: int) -> list[OverrideSet]:
        kept: list[OverrideSet] = []
        path = override_path(identity)
        for commit in await self._files.history(identity.ns, path, limit):
            try:
                file = await self._files.get_definition_file_content(identity.ns, path, commit.revision)
                kept.append(read_override_file(file.content.encode(), path=path))
            except (NotFound, DefinitionInvalid):  # the commit that removed it, or a revision nobody could read
                continue
        return kept


def override_path(identity: OverrideId) -> str:
    """Where a set stands in the repository."""
    return f"{FOLDER}/{identity.tag}/{identity.key}.yaml"


def override_of_path(ns: str, path: str) -> OverrideId | None:
    """Whose set a file of the repository is."""
    parts = PurePosixPath(path).parts
    if len(parts) != 3 or parts[0] != FOLDER or not parts[2].endswith(".yaml"):
        return None
    return OverrideId(ns, parts[2].removesuffix(".yaml"), parts[1])


def override_file(overrides: OverrideSet) -> bytes:
    """A set as its file; bodies stand in it as they are read."""
    values = overrides.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120).encode()


def read_override_file(raw: bytes, *, path: str) -> OverrideSet:
    """The set in a file; DefinitionInvalid with `problems` when it is none."""
    document = YamlDocument(raw, path=path)
    try:
        return OverrideSet.model_validate(document.value)
    except ValidationError as error:
        problems = []
        for fault in error.errors(include_url=False, include_input=False):
            pointer = "".join(f"/{step}" for step in fault["loc"])
            problems.append(document.problem(pointer, fault_message(fault, OverrideSet)))
        raise document.invalid(problems) from None


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that a commit's diff can be read."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
