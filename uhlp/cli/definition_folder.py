"""The folder that `uhlp apply` reads: its files, and which of the server's it answers for."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uhlp.cli.failure import CommandError
from uhlp.cli.given_files import text_of

APP_FILE = "app.yaml"
REGISTRY_FILE = "component_registry.yaml"
_READ_FOLDERS = ("prompts", "workflows", "schemas", "evals", "overrides", "files", "_jit_code")
_OWNED_FOLDERS = ("prompts/", "workflows/", "schemas/", "evals/")


@dataclass(frozen=True, slots=True)
class DefinitionFolder:
    """The parsed app.yaml, and the text of every file that belongs to a definition, by its path."""

    definition: dict[str, Any]
    files: dict[str, str]

    @property
    def app_id(self) -> str:
        return str(self.definition["appId"])

    def component_ids(self) -> set[str] | None:
        """The components it defines; None when that cannot be read: the server says why."""
        import yaml

        try:
            registry = yaml.safe_load(self.files.get(REGISTRY_FILE, "")) or {}
            return {str(component["componentId"]) for component in registry.get("components") or ()}
        except (yaml.YAMLError, AttributeError, TypeError, KeyError):
            return None

    def lacks(self, served: Iterable[str]) -> list[str]:
        """Of a repository's files those that this folder no longer has.

        Only files that a folder is the one source of: not handlers, not overrides, not what the application wrote.
        """
        return sorted(
            path
            for path in served
            if path not in self.files
            and (path == REGISTRY_FILE or path.startswith(_OWNED_FOLDERS))
            and not path.rpartition("/")[2].startswith(".")
        )


def read_folder(folder: Path) -> DefinitionFolder:
    """The definition in a folder. CommandError when there is none."""
    import yaml

    if not (folder / APP_FILE).is_file():
        raise CommandError(f"{folder} has no {APP_FILE}", hint="`uhlp init DIR` writes a starter application")
    files: dict[str, str] = {}
    for path in _definition_files(folder):
        name = path.relative_to(folder).as_posix()
        files[name] = text_of(path)
    try:
        definition = yaml.safe_load(files[APP_FILE])
    except yaml.YAMLError as error:
        raise CommandError(f"{APP_FILE}{_line_of(error)} is not valid YAML: {_problem_of(error)}") from None
    if not isinstance(definition, dict) or not isinstance(definition.get("appId"), str):
        raise CommandError(f"{APP_FILE} has no appId", hint="the id of the application, on a line: appId: my-app")
    return DefinitionFolder(definition, files)


def _line_of(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}," if mark is not None else ""


def _problem_of(error: Exception) -> str:
    return getattr(error, "problem", None) or " ".join(str(error).split())


def _definition_files(folder: Path) -> list[Path]:
    inside = [path for name in _READ_FOLDERS for path in sorted((folder / name).rglob("*"))]
    return [
        path
        for path in [*(folder / name for name in (APP_FILE, REGISTRY_FILE)), *inside]
        if path.is_file() and not path.name.startswith(".") and "__pycache__" not in path.parts
    ]
