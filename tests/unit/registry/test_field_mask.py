"""Field masks: what they name, against a walk through the wire form of a definition."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uhlp.errors import ValidationFailed
from uhlp.models.definition import AppDefinition
from uhlp.registry.application_compiler import compile_application
from uhlp.registry.definition_edits import definition_files, masked_edit
from uhlp.registry.field_mask import parse_mask, value_at
from uhlp.registry.merge import merged_files

FIXED = {
    "displayName": "Desk",
    "version": "3",
    "sandboxPools": {"pools": [{"poolName": "default", "maxInstances": 3}]},
    "configuration": {"limits": {"rows": 1, "x": None}, "dotted.key": 2},
    "optimizationConfig": {"enabled": False, "rules": []},
    "securityConfig": {
        "userRoles": {"ops": {"roleName": "ops", "permissions": ["*"]}},
        "userAssignments": {"ann": ["ops"]},
    },
    "llm": {"model": "m", "parameters": {"temperature": 0.5}, "budget": {"usdPerDay": 1.5}},
    "mcpServers": {"files": {"url": "https://h/x"}},
    "public": True,
}  # fmt: skip


def paths_of(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [at]
    inner = [path for key, one in value.items() if "." not in key for path in paths_of(one, (*at, key))]
    return [*([at] if at else []), *inner]


PATHS = paths_of(FIXED)
_PARTS = (("securityConfig", "userRoles", "ops"), ("mcpServers", "files", "url"))
WHOLE = [path for path in PATHS if path[:3] not in _PARTS]
"""Without the parts of a role and of a server, which cannot stand alone."""

segments = st.sampled_from(sorted({step for path in PATHS for step in path})) | st.text("aZ0_-é", max_size=3)


@given(st.lists(segments, min_size=1, max_size=4).map(tuple))
def test_a_mask_names_what_a_definition_has_and_nothing_else(path):
    """A path of the sample is taken; one that leads out of a model is not."""
    try:
        (parsed,) = parse_mask([".".join(path)])
    except ValidationFailed:
        assert path not in PATHS
        return
    assert parsed == path
    model: Any = AppDefinition.model_json_schema()
    node: Any = model
    for step in path:
        if "$ref" in node:
            node = model["$defs"][node["$ref"].rpartition("/")[2]]
        of_any_name = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
        inner = node.get("properties", {}).get(step, of_any_name)
        assert inner not in (None, False), path
        node = inner if isinstance(inner, dict) else {"additionalProperties": True}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=4, unique=True))
def test_an_update_changes_what_its_mask_names_and_leaves_the_rest(paths):
    before = definition_files(AppDefinition.model_validate({"appId": "desk", "displayName": "Old", "version": "1"}))
    parsed = parse_mask([".".join(path) for path in paths])
    after = merged_files(before, masked_edit(FIXED, parsed)(before))
    made = compile_application("desk", after, revision="r", global_configuration={}).definition
    wire, old = made.model_dump(mode="json", by_alias=True), {"displayName": "Old", "version": "1"}
    for path in paths:
        found, value = value_at(FIXED, path)
        assert found
        _, now = value_at(wire, path)
        assert _holds(now, value)
    for name, value in old.items():
        if (name,) not in paths:
            assert wire[name] == value
    untouched = {path[0] for path in PATHS} - {path[0] for path in paths} - set(old)
    empty = AppDefinition(app_id="desk").model_dump(mode="json", by_alias=True)
    assert {name: wire[name] for name in untouched} == {name: empty[name] for name in untouched}


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(WHOLE))
def test_a_named_field_that_the_partial_definition_lacks_is_reset(path):
    full = definition_files(AppDefinition.model_validate({"appId": "desk", **FIXED}))
    after = merged_files(full, masked_edit({}, parse_mask([".".join(path)]))(full))
    made = compile_application("desk", after, revision="r", global_configuration={}).definition
    empty = AppDefinition(app_id="desk").model_dump(mode="json", by_alias=True)
    assert value_at(made.model_dump(mode="json", by_alias=True), path)[1] == value_at(empty, path)[1]


def _holds(now: Any, value: Any) -> bool:
    """Whether `now` has everything of `value`; models add their defaults."""
    if isinstance(value, dict):
        return isinstance(now, dict) and all(key in now and _holds(now[key], one) for key, one in value.items())
    if isinstance(value, list):
        return len(now) == len(value) and all(_holds(*pair) for pair in zip(now, value, strict=True))
    return bool(now == value)


@pytest.mark.parametrize("mask", [["a" * 10_000], ["configuration." + ".".join("x" * 50)], ["configuration..x"]])
def test_odd_paths_are_refused_or_open(mask):
    if ".." in mask[0] or mask[0].startswith("aaa"):
        with pytest.raises(ValidationFailed):
            parse_mask(mask)
    else:
        assert len(parse_mask(mask)[0]) == 51
