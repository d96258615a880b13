"""What a folder that is applied again leaves standing on the server.

The folder wins, file by file, with two exceptions, for things that the server made and the folder cannot know:
* a component that was promoted (JIT, script below `_jit_code/`) stays promoted when the folder says LLM and the
  component still means the same (equal spec_hash); a changed meaning sends it back to the model;
* API keys in app.yaml that the folder does not list stay; `delete_api_key` removes a key.
A file that is not named stays: `uhlp apply` names what its folder no longer has.
"""

from collections.abc import Mapping

from uhlp.models.definition import HandlerType
from uhlp.registry.definition_files import APP_FILE, JIT_CODE, REGISTRY_FILE, Files
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.registry.yaml_editor import YamlEditor


def merged_files(before: Files, changes: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """The tree after `changes`; None deletes."""
    after = dict(before) | {path: content for path, content in changes.items() if content is not None}
    for path, content in changes.items():
        if content is None:
            after.pop(path, None)
    return after


def kept_by_server(current: AppSnapshot, incoming: AppSnapshot, files: Files) -> dict[str, bytes]:
    """app.yaml and component_registry.yaml of `incoming` with what the rules above keep; only those that change."""
    kept: dict[str, bytes] = {}
    missing = [key for key_id, key in current.api_keys.items() if key_id not in incoming.api_keys]
    if missing:
        app = YamlEditor(files[APP_FILE])
        for key in missing:
            app.add_api_key(key)
        kept[APP_FILE] = app.raw()
    promoted = [
        component
        for component_id, component in current.components.items()
        if _stays_promoted(component, incoming.components.get(component_id), files)
    ]
    if promoted:
        registry = YamlEditor(files[REGISTRY_FILE])
        for component in promoted:
            script = component.definition.task_details.script or ""
            registry.serve_script(component.definition.component_id, script, component.handler_function)
        kept[REGISTRY_FILE] = registry.raw()
    return kept


def _stays_promoted(now: ComponentSnapshot, incoming: ComponentSnapshot | None, files: Files) -> bool:
    return (
        incoming is not None
        and now.definition.handler_type is HandlerType.JIT
        and incoming.definition.handler_type is HandlerType.LLM
        and now.handler_artifact is not None
        and now.handler_artifact.path.startswith(JIT_CODE)
        and now.handler_artifact.path in files
        and now.spec_hash == incoming.spec_hash
    )
