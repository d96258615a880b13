"""Reading a model's draft: strict, because everything a model returns is untrusted.

A draft may describe prompts, schemas and golden examples. It may not give itself keys, tools, servers, pools, code or
open routes: whoever reviews it adds what it needs.
"""

import re
from collections.abc import Mapping
from typing import Any

from uhlp.authoring.draft import MOST_CHARACTERS, MOST_FILES
from uhlp.errors import DefinitionInvalid
from uhlp.registry.definition_files import APP_FILE, REGISTRY_FILE
from uhlp.strict_yaml import YamlDocument

ANSWER_SCHEMA = {
    "type": "object",
    "properties": {
        "files": {
            "type": "object",
            "minProperties": 2,
            "maxProperties": MOST_FILES,
            "additionalProperties": {"type": "string"},
        }
    },
    "required": ["files"],
    "additionalProperties": False,
}
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
_PATH = re.compile(
    rf"app\.yaml|component_registry\.yaml|prompts/{_NAME}\.yaml|schemas/{_NAME}\.json|evals/{_NAME}\.jsonl"
)
_APP = frozenset({"appId", "displayName", "version", "optimizationConfig", "configuration"})
_COMPONENT = frozenset(
    ("componentId", "description", "handlerType", "taskDetails", "routeMatcher", "inputSchema", "outputSchema",
     "timeoutMs", "optimization")
)  # fmt: skip


class UnreadableDraft(Exception):
    """The answer is not in the form that was asked for; the text says what is wrong."""


def read_answer(value: Any) -> dict[str, str]:
    """The files of an answer that has ANSWER_SCHEMA. Raises UnreadableDraft."""
    files: dict[str, str] = value["files"]
    for path, text in files.items():
        if not _PATH.fullmatch(path):
            raise UnreadableDraft(f"a draft holds no file {path[:80]!r}")
        if "\0" in text or not _is_utf8(text):
            raise UnreadableDraft(f"{path} holds characters that are no text")
    if sum(len(text) for text in files.values()) > MOST_CHARACTERS:
        raise UnreadableDraft(f"the files hold more than {MOST_CHARACTERS:,} characters")
    for path in (APP_FILE, REGISTRY_FILE):
        if path not in files:
            raise UnreadableDraft(f"{path} is missing")
    return files


def taken_liberties(files: Mapping[str, str]) -> list[dict[str, Any]]:
    """What a draft says that is not its to say, as problems. What cannot be read is for the compilation to tell."""
    found = [_problem(APP_FILE, key, "") for key in _keys(_value(files, APP_FILE)) - _APP]
    registry = _value(files, REGISTRY_FILE)
    components = registry.get("components") if isinstance(registry, dict) else None
    for place, one in enumerate(components if isinstance(components, list) else ()):
        at = f"/components/{place}"
        found += [_problem(REGISTRY_FILE, key, at) for key in _keys(one) - _COMPONENT]
        if isinstance(one, dict) and one.get("handlerType", "LLM") != "LLM":
            found.append(
                {"file": REGISTRY_FILE, "path": f"{at}/handlerType", "message": "a draft's components are LLM"}
            )
    return sorted(found, key=lambda problem: (problem["file"], problem["path"]))


def _value(files: Mapping[str, str], path: str) -> Any:
    try:
        return YamlDocument(files[path].encode(), path=path).value
    except DefinitionInvalid:
        return None


def _keys(value: Any) -> set[str]:
    return {str(key) for key in value} if isinstance(value, dict) else set()


def _problem(file: str, key: str, at: str) -> dict[str, Any]:
    return {"file": file, "path": f"{at}/{key}", "message": f"a draft does not decide {key[:80]}: add it in the review"}


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
