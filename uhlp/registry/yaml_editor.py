"""Edits of app.yaml and component_registry.yaml that leave comments, order and quoting as their owner wrote them."""

import io
import re
from typing import Any

import yaml
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from uhlp.errors import ComponentNotFound, NotFound
from uhlp.models.definition import ApiKeyDefinition

Mapping = dict[str, Any]


class YamlEditor:
    """One YAML mapping, read from `raw` (valid, or empty) and written back by `raw()`."""

    def __init__(self, raw: bytes) -> None:
        self._yaml = YAML()
        self._yaml.preserve_quotes = True
        self._yaml.width = 4096
        self._indent(raw)
        self._document = self._yaml.load(raw.decode()) or CommentedMap()

    def raw(self) -> bytes:
        """The file as it is now."""
        out = io.BytesIO()
        self._yaml.dump(self._document, out)
        return out.getvalue()

    def set(self, path: tuple[str, ...], value: Any) -> None:
        """Put a value at a path of keys, making the mappings on the way."""
        node = self._document
        for key in path[:-1]:
            if not isinstance(node.get(key), dict):
                node[key] = CommentedMap()
            node = node[key]
        node[path[-1]] = value

    def remove(self, path: tuple[str, ...]) -> None:
        """Take a path of keys away; nothing happens when it is not there."""
        node = self._document
        for key in path[:-1]:
            node = node.get(key)
            if not isinstance(node, dict):
                return
        node.pop(path[-1], None)

    def component(self, component_id: str) -> Mapping:
        """The mapping of a component, to be changed in place."""
        for component in self._document.get("components") or ():
            if component.get("componentId") == component_id:
                found: Mapping = component
                return found
        raise ComponentNotFound(f"there is no component {component_id}", details={"componentId": component_id})

    def serve_script(self, component_id: str, script: str, function: str) -> None:
        """Let a component run a handler; its prompt stays named, so that the model path remains."""
        component = self.component(component_id)
        component["handlerType"] = "JIT"
        task = component.setdefault("taskDetails", CommentedMap())
        task["script"], task["function"] = script, function

    def serve_prompt(self, component_id: str) -> None:
        """Let a component run its prompt again."""
        component = self.component(component_id)
        component["handlerType"] = "LLM"
        for key in ("script", "function"):
            component.get("taskDetails", {}).pop(key, None)

    def add_api_key(self, key: ApiKeyDefinition) -> None:
        """Append a key to securityConfig.apiKeys."""
        if not isinstance(self._document.get("securityConfig"), dict):
            self._document["securityConfig"] = CommentedMap()
        security = self._document["securityConfig"]
        if not isinstance(security.get("apiKeys"), list):
            security["apiKeys"] = CommentedSeq()
        security["apiKeys"].append(CommentedMap(key.model_dump(mode="json", by_alias=True)))

    def remove_api_key(self, key_id: str) -> None:
        """Take a key out of securityConfig.apiKeys; NotFound when there is none."""
        keys = (self._document.get("securityConfig") or {}).get("apiKeys") or []
        for index, key in enumerate(keys):
            if key.get("keyId") == key_id:
                del keys[index]
                return
        raise NotFound(f"there is no API key {key_id}", details={"keyId": key_id})

    def _indent(self, raw: bytes) -> None:
        """Keep the owner's way with lists: dashes below the key, or two to the right."""
        indented = any(line.startswith(b"  - ") for line in raw.splitlines())
        self._yaml.indent(mapping=2, sequence=4 if indented else 2, offset=2 if indented else 0)


def as_yaml(model: BaseModel, *, exclude: set[str] | None = None) -> bytes:
    """A model as a YAML file: camelCase, what was given only."""
    plain = model.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=exclude)
    return yaml.dump(plain, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True).encode()


class _CoreDumper(yaml.SafeDumper):
    """Quotes also the text that YAML 1.2 would read as a number: PyYAML knows 1.1 only, where 1e3 is text."""


_CoreDumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)
