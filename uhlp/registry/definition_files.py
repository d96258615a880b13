"""The files of an application's repository: where things stand, and how its two YAML files are read."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from uhlp.errors import DefinitionInvalid
from uhlp.models.definition import AppDefinition, ComponentRegistry
from uhlp.models.faults import Step, fault_message
from uhlp.registry.problems import Problems
from uhlp.strict_yaml import YamlDocument

APP_FILE = "app.yaml"
REGISTRY_FILE = "component_registry.yaml"
JIT_CODE = "_jit_code/"
DATA_FOLDER = "files/"
"""What components themselves may write (registry/data_files)."""
_JIT_VERSION = re.compile(r"(?P<folder>_jit_code/(?P<component_id>[^/]+)/v(?P<version>[1-9][0-9]{0,8}))/")

Files = Mapping[str, bytes]
M = TypeVar("M", bound=BaseModel)


def prompt_path(reference: str) -> str:
    """The file that `prompt_template` names, by name (`triage`) or by path (`prompts/triage.yaml`)."""
    return reference if "/" in reference else f"prompts/{reference.removesuffix('.yaml')}.yaml"


def workflow_path(workflow_id: str) -> str:
    """The file of a workflow."""
    return f"workflows/{workflow_id}.yaml"


def golden_path(component_id: str) -> str:
    """The file of a component's golden examples."""
    return f"evals/{component_id}.jsonl"


def jit_folder(component_id: str, version: int) -> str:
    """The folder of one version of a component's handler, with the slash."""
    return f"{JIT_CODE}{component_id}/v{version}/"


def jit_version(script: str) -> int | None:
    """The N of a script below `_jit_code/<componentId>/v<N>/`."""
    found = _JIT_VERSION.match(script)
    return int(found["version"]) if found else None


def unused_versions(scripts: Iterable[str | None]) -> Callable[[str], bool]:
    """Whether a folder is that of a handler's version which none of `scripts` lies in: there is one more for every
    handler that was ever promoted."""
    found = (_JIT_VERSION.match(script) for script in scripts if script)
    used = {one["folder"] for one in found if one}
    return lambda folder: folder not in used and _JIT_VERSION.fullmatch(f"{folder}/") is not None


class DefinitionReader:
    """Reads app.yaml and component_registry.yaml into models; what is wrong goes to `problems`, with lines."""

    def __init__(self, files: Files, problems: Problems) -> None:
        self._files = files
        self._problems = problems
        self._documents: dict[str, YamlDocument] = {}

    def app(self, app_id: str) -> AppDefinition | None:
        """The application `app_id` without components; None when it cannot be read."""
        app = self.any_app()
        if app is None:
            return None
        if app.app_id != app_id:
            self.problem(APP_FILE, "/appId", f"appId is {app.app_id}, but the application is {app_id}")
        if app.initial_component_registry.components:
            self.problem(APP_FILE, "/initialComponentRegistry", f"components belong in {REGISTRY_FILE}")
        return app

    def any_app(self) -> AppDefinition | None:
        """The same for whatever id the file gives."""
        if APP_FILE not in self._files:
            self._problems.add(APP_FILE, "the file is missing; it holds at least `appId`")
            return None
        return self._model(APP_FILE, AppDefinition)

    def components(self) -> ComponentRegistry | None:
        """The components; an absent file means none, None that it cannot be read."""
        if REGISTRY_FILE not in self._files:
            return ComponentRegistry()
        return self._model(REGISTRY_FILE, ComponentRegistry)

    def problem(self, file: str, pointer: str, message: str) -> None:
        """A problem at a JSON pointer of one of the two files."""
        self._problems.add(file, message, path=pointer, line=self._documents[file].line(pointer))

    def _model(self, file: str, model: type[M]) -> M | None:
        try:
            document = self._documents[file] = YamlDocument(self._files[file], path=file)
        except DefinitionInvalid as error:
            self._problems.take(error, file)
            return None
        try:
            return model.model_validate({} if document.value is None else document.value)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                self.problem(file, _pointer(fault, document.value), fault_message(fault, model))
            return None


def _pointer(fault: Mapping[str, Any], value: Any) -> str:
    """Where in `value` the fault is. Pydantic names the member of a union besides, which stands in no file."""
    steps = _steps(fault["loc"], value, is_missing=fault["type"] == "missing")
    return "".join(f"/{step}" for step in (fault["loc"] if steps is None else steps))


def _steps(steps: Sequence[Step], value: Any, *, is_missing: bool) -> list[Step] | None:
    """The steps that lead somewhere in `value`; the last may lead to what is missing. None: they do not fit it."""
    if not steps:
        return []
    if not isinstance(value, dict | list):
        return None
    step, *rest = steps
    below_by_step: Mapping[Step, Any] = value if isinstance(value, dict) else dict(enumerate(value))
    if step in below_by_step:
        below = _steps(rest, below_by_step[step], is_missing=is_missing)
        if below is not None:
            return [step, *below]
    if rest:
        return _steps(rest, value, is_missing=is_missing)
    return [step] if is_missing else []
