"""Snapshots: an application at one revision, compiled. What a request uses; never changed, only swapped."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from uhlp.jsonschemas import Validator
from uhlp.models.definition import ApiKeyDefinition, AppDefinition, ComponentDefinition
from uhlp.prompts import Prompt
from uhlp.registry.route_table import RouteTable
from uhlp.workflows import Plan


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes that a sandbox runs, by content. `sha256` is in hex; `path` says where in the repository they are."""

    sha256: str
    path: str
    content: bytes = field(repr=False)

    @classmethod
    def of(cls, path: str, content: bytes) -> "Artifact":
        return cls(sha256(content).hexdigest(), path, content)


@dataclass(frozen=True, slots=True)
class GoldenExample:
    """An input and the output its owner says is right; above any model's word."""

    id: str
    input: dict[str, Any]
    expected: Any


@dataclass(frozen=True, slots=True)
class ComponentSnapshot:
    """One component, ready to run.

    `output_schema` is the component's, else its prompt's. `prompt_artifact` is the model path, `handler_artifact` the
    JIT script in service, `handler_version` the N of its `v<N>` directory. `spec_hash` changes when what the component
    means changes (registry.spec). `configuration` is merged: global, application, component. `properties_types` gives
    the scalar JSON type of top-level input properties, to read query and path parameters by.
    """

    definition: ComponentDefinition
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    input_validator: Validator | None
    output_validator: Validator | None
    prompt: Prompt | None
    prompt_artifact: Artifact | None
    handler_artifact: Artifact | None
    handler_version: int | None
    handler_function: str
    spec_hash: str
    configuration: dict[str, Any]
    properties_types: Mapping[str, str]
    golden: tuple[GoldenExample, ...]
    workflow: Plan | None = None


@dataclass(frozen=True, slots=True)
class AppSnapshot:
    """One application at `revision`. `definition` holds its components too; `api_keys` is by key id.

    `stale_overrides` names the sections ("triage/rules") whose override under `stable` is passed over, because it was
    made for another body than the one that is there.
    """

    app_id: str
    revision: str
    definition: AppDefinition
    components: Mapping[str, ComponentSnapshot]
    routes: RouteTable
    api_keys: Mapping[str, ApiKeyDefinition]
    workflows: Mapping[str, Plan] = field(default_factory=dict)
    stale_overrides: tuple[str, ...] = ()


class Snapshots(Protocol):
    """What the registry serves from memory; AppNotFound when it serves none."""

    def snapshot(self, app_id: str) -> AppSnapshot: ...
