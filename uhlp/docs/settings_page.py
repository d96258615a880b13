"""settings.md: every setting with type, default and meaning, from the settings models and their docstrings."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from uhlp import strict_json
from uhlp.docs.markdown_table import code, paragraphs, table
from uhlp.settings import Settings

_HEAD = """\
# Settings

A setting is an environment variable or a key of `uhlp.toml` in the working directory; a variable wins. The variable of
`sandbox.docker.url` is `UHLP_SANDBOX__DOCKER__URL`: `UHLP_`, and two underscores between levels. Lists and tables are
written as JSON in variables. A name that is not known is refused at start. `uhlp settings` prints what a running server
uses, and where each value comes from; secrets are masked. Where a value may be `secret:NAME`, it is the environment
variable `NAME`, or the file `<data_dir>/secrets/NAME`; in definitions it is what `secrets.applications` gives.

`OPENAI_API_KEY`, `ANTHROPIC_API_KEY` or `OLLAMA_HOST` alone configure a model provider ([providers](providers.md)).
What `uhlp evolution config` and `uhlp config` change while the server runs is kept and wins over both.
"""


@dataclass(frozen=True, slots=True)
class SettingsGroup:
    """The settings under one prefix: `sandbox.docker.`, or `llm.providers.<name>.` for what a table may hold."""

    prefix: str
    model: type[BaseModel]

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """What has a value of its own; parts of the tree are groups."""
        return {name: field for name, field in self.model.model_fields.items() if not _is_model(field.annotation)}


def settings_page() -> str:
    sections = [_HEAD]
    groups = list(dict.fromkeys(settings_groups(Settings, "")))  # prices stand alike below each kind of provider
    for group in groups:
        if not group.fields:
            continue
        title = group.prefix.rstrip(".") or "The server"
        if any(one != group and one.prefix == group.prefix for one in groups):
            title += f", {_kind(group.model)}"
        meaning = "" if group.model is Settings else f"{paragraphs(group.model.__doc__)}\n\n"
        sections.append(f"\n## {title}\n\n{meaning}{_table(group)}")
    return "".join(sections)


def settings_groups(model: type[BaseModel], prefix: str) -> Iterator[SettingsGroup]:
    """This model's group and all below it, in the order of the fields."""
    yield SettingsGroup(prefix, model)
    for name, field in model.model_fields.items():
        for below, place in _models_in(field.annotation, f"{prefix}{name}"):
            yield from settings_groups(below, f"{place}.")


def _models_in(annotation: Any, place: str) -> Iterator[tuple[type[BaseModel], str]]:
    """The models that values of this type are made of, each with where it stands."""
    if _is_model(annotation):
        yield annotation, place
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _models_in(arguments[0], place)
    elif origin is dict:
        yield from _models_in(arguments[1], f"{place}.<name>")
    elif origin is tuple:
        yield from _models_in(arguments[0], f"{place}[]")
    else:
        for argument in arguments:
            yield from _models_in(argument, place)


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _kind(model: type[BaseModel]) -> str:
    """How the models that may stand in one place are told apart: `kind = "openai"`."""
    (kind,) = get_args(model.model_fields["kind"].annotation)
    return f'kind = "{kind}"'


def _table(group: SettingsGroup) -> str:
    schema = group.model.model_json_schema(by_alias=False)
    meanings = docstrings_of_fields(group.model)
    rows = []
    for name, field in group.fields.items():
        described = schema["properties"][name]
        default = "required" if field.is_required() else _default(described)
        kind = type_in_words(described, schema.get("$defs", {}))
        rows.append((code(group.prefix + name), kind, default, meanings.get(name, "")))
    return table(("setting", "type", "default", "means"), rows)


def docstrings_of_fields(model: type[BaseModel]) -> dict[str, str]:
    """What stands as a text below a field in the source of the model, or of one that it is made from."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if not part.__module__.startswith("uhlp."):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(definition, ast.ClassDef)  # noqa: S101  it is a class that was read
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                found[field.target.id] = paragraphs(ast.literal_eval(below.value))
    return found


def _default(described: dict[str, Any]) -> str:
    default = described.get("default")
    return "" if default is None else code(strict_json.dumps(default).decode())


def type_in_words(described: dict[str, Any], parts: dict[str, Any]) -> str:
    """A JSON Schema as a few words: `number > 0`, `"a" or "b"`, `list of text`."""
    if "$ref" in described:
        return type_in_words(parts[described["$ref"].rpartition("/")[2]], parts)
    for several in ("anyOf", "oneOf"):
        if several in described:
            words = [type_in_words(one, parts) for one in described[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(words))
    if "const" in described or "enum" in described:
        return " or ".join(code(str(one)) for one in described.get("enum", [described.get("const")]))
    match described.get("type"):
        case "array":
            return "list of " + type_in_words(described.get("items") or described["prefixItems"][0], parts)
        case "object" if "properties" not in described:
            held = described.get("additionalProperties")
            return f"table of {type_in_words(held, parts)}" if isinstance(held, dict) and held else "table"
        case "object":
            return "table"
        case "string":
            return {"password": "secret", "path": "path"}.get(described.get("format", ""), "text")
        case "boolean":
            return "`true` or `false`"
        case "integer" | "number" as kind:
            return f"{kind}{_bounds(described)}"
        case _:
            return "any value"


def _bounds(described: dict[str, Any]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    return "".join(
        f" {sign} {described[word]:g}" if described[word] < 1e6 else f" {sign} {described[word]:,.0f}"
        for word, sign in signs.items()
        if word in described
    )
