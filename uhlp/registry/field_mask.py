"""Field masks: which parts of an AppDefinition an update names (seed 003 §3.1.2, google.protobuf.FieldMask)."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from uhlp.errors import ValidationFailed
from uhlp.models.definition import AppDefinition

Path = tuple[str, ...]


def parse_mask(paths: Iterable[str]) -> list[Path]:
    """The paths as keys: `displayName`, `llm.model`, `configuration.limits.rows`, `securityConfig.userRoles.ops`.

    Lists are named whole. ValidationFailed (422) names every path that AppDefinition does not have, and `appId`.
    """
    parsed = [tuple(path.split(".")) for path in paths]
    unknown = [".".join(path) for path in parsed if path == ("appId",) or not _exists(AppDefinition, path)]
    if unknown or not parsed:
        what = f"has paths that cannot be updated: {', '.join(unknown)}" if unknown else "is empty"
        raise ValidationFailed(f"updateMask {what}", details={"paths": unknown})
    return parsed


def value_at(definition: Mapping[str, Any], path: Path) -> tuple[bool, Any]:
    """Whether a partial definition holds a path, and what; a path that it lacks resets the field."""
    node: Any = definition
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return False, None
        node = node[key]
    return True, node


def _exists(annotation: Any, path: Path) -> bool:
    if not path:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if path[0] == (field.alias or name):
                return _exists(field.annotation, path[1:])
        return False
    if annotation is Any:
        return all(path)
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return bool(path[0]) and _exists(arguments[1], path[1:])
    if get_origin(annotation) is tuple:
        return False
    return any(_exists(option, path) for option in arguments if option is not type(None))
