"""Edits: from the files of a definition to the files to write. They run in a thread, on the newest files."""

from collections.abc import Callable, Mapping
from typing import Any

from uhlp.errors import ValidationFailed
from uhlp.models.definition import ApiKeyDefinition, AppDefinition
from uhlp.registry.definition_files import APP_FILE, REGISTRY_FILE, jit_folder
from uhlp.registry.field_mask import Path, value_at
from uhlp.registry.yaml_editor import YamlEditor, as_yaml

Edit = Callable[[Mapping[str, bytes]], dict[str, bytes | None]]
_COMPONENTS = "initialComponentRegistry"


def definition_files(definition: AppDefinition) -> dict[str, bytes]:
    """app.yaml and component_registry.yaml of a definition."""
    return {
        APP_FILE: as_yaml(definition, exclude={"initial_component_registry"}),
        REGISTRY_FILE: as_yaml(definition.initial_component_registry),
    }


def masked_edit(definition: Mapping[str, Any], paths: list[Path]) -> Edit:
    """Take the masked fields from a partial definition; components go to their own file."""

    def edit(before: Mapping[str, bytes]) -> dict[str, bytes | None]:
        editors: dict[str, YamlEditor] = {}
        for path in paths:
            is_component = path[0] == _COMPONENTS
            file = REGISTRY_FILE if is_component else APP_FILE
            editor = editors.setdefault(file, YamlEditor(before.get(file, b"")))
            found, value = value_at(definition, path)
            if path == (_COMPONENTS,):
                path, value = (*path, "components"), (value or {}).get("components", [])
            target = path[1:] if is_component else path
            editor.set(target, value) if found else editor.remove(target)
        return {file: editor.raw() for file, editor in editors.items()}

    return edit


def with_handler(component_id: str, version: int, files: Mapping[str, bytes], function: str) -> Edit:
    """Version N of a component's handler in service."""
    folder = jit_folder(component_id, version)
    script = f"{folder}handler.py"
    if script not in files or any(not path.startswith(folder) for path in files):
        raise ValidationFailed(f"the files of a handler lie below {folder} and hold handler.py")

    def edit(before: Mapping[str, bytes]) -> dict[str, bytes | None]:
        registry = YamlEditor(before.get(REGISTRY_FILE, b""))
        registry.serve_script(component_id, script, function)
        return {**files, REGISTRY_FILE: registry.raw()}

    return edit


def with_prompt(component_id: str, files: Mapping[str, bytes]) -> Edit:
    """A component's prompt in service again."""

    def edit(before: Mapping[str, bytes]) -> dict[str, bytes | None]:
        registry = YamlEditor(before.get(REGISTRY_FILE, b""))
        registry.serve_prompt(component_id)
        return {**files, REGISTRY_FILE: registry.raw()}

    return edit


def with_api_key(key: ApiKeyDefinition) -> Edit:
    """One key more in app.yaml."""

    def edit(before: Mapping[str, bytes]) -> dict[str, bytes | None]:
        app = YamlEditor(before[APP_FILE])
        app.add_api_key(key)
        return {APP_FILE: app.raw()}

    return edit


def without_api_key(key_id: str) -> Edit:
    """One key less in app.yaml."""

    def edit(before: Mapping[str, bytes]) -> dict[str, bytes | None]:
        app = YamlEditor(before[APP_FILE])
        app.remove_api_key(key_id)
        return {APP_FILE: app.raw()}

    return edit
