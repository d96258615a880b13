"""Definitions are checked whole, and every problem is told with file, path and line."""

from typing import Any

import pytest

from tests.unit.registry.conftest import FILES
from uhlp.errors import DefinitionInvalid
from uhlp.evals.comparator import Comparator
from uhlp.registry.application_compiler import compile_application
from uhlp.registry.secret_scan import find_secrets

REGISTRY = FILES["component_registry.yaml"]


def compiled(changes: dict[str, bytes | None]):
    files = {path: raw for path, raw in (FILES | changes).items() if raw is not None}
    return compile_application("desk", files, revision="r", global_configuration={})


def problems(changes: dict[str, bytes | None]) -> list[dict[str, Any]]:
    with pytest.raises(DefinitionInvalid) as caught:
        compiled(changes)
    return caught.value.details["problems"]


def component(text: str) -> dict[str, bytes]:
    return {"component_registry.yaml": b"components:\n" + text.encode()}


def test_all_problems_are_told_at_once():
    found = problems(
        {
            "app.yaml": b"appId: desk\noptimizationConfig:\n  rules:\n    - condition: {expression: latency > 1s}\n",
            "component_registry.yaml": b"""\
components:
  - componentId: a
    targetPoolName: nowhere
    taskDetails: {prompt_template: missing}
    routeMatcher: {pathPattern: /x/:id}
  - componentId: a
    taskDetails: {prompt_template: triage}
    routeMatcher: {pathPattern: /x/:other}
    inputSchema: {type: nonsense}
    outputSchema: schemas/none.json
    optimization: {decisionField: colour, rules: [{condition: {expression: "count("}}]}
  - componentId: w
    handlerType: WORKFLOW
  - componentId: j
    handlerType: JIT
    taskDetails: {script: _jit_code/j/v1/handler.py}
""",
            "prompts/broken.yaml": b"template: '{{ nope'\n",
            "evals/a.jsonl": b'{"input": 1}\nnot json\n',
        }
    )
    places = {(problem["file"], problem["path"]) for problem in found}
    assert places >= {
        ("app.yaml", "/optimizationConfig/rules/0/condition/expression"),
        ("component_registry.yaml", "/components/0/targetPoolName"),
        ("component_registry.yaml", "/components/0/taskDetails/prompt_template"),
        ("component_registry.yaml", "/components/1/componentId"),
        ("component_registry.yaml", "/components/1/routeMatcher/pathPattern"),
        ("component_registry.yaml", "/components/1/inputSchema/type"),
        ("component_registry.yaml", "/components/1/outputSchema"),
        ("component_registry.yaml", "/components/1/optimization/decisionField"),
        ("component_registry.yaml", "/components/1/optimization/rules/0/condition/expression"),
        ("component_registry.yaml", "/components/2/taskDetails"),
        ("component_registry.yaml", "/components/3/taskDetails/script"),
        ("prompts/broken.yaml", "/template"),
        ("evals/a.jsonl", ""),
    }
    line = {problem["path"]: problem.get("line") for problem in found}
    assert line["/components/0/targetPoolName"] == 3
    assert line["/optimizationConfig/rules/0/condition/expression"] == 4


@pytest.mark.parametrize(
    ("changes", "file", "message"),
    [
        ({"app.yaml": None}, "app.yaml", "missing"),
        ({"app.yaml": b"appId: other\n"}, "app.yaml", "appId is other"),
        ({"app.yaml": b"appId: desk\nnope: 1\n"}, "app.yaml", "unknown field `nope`"),
        ({"app.yaml": b"[1"}, "app.yaml", ""),
        ({"app.yaml": b"appId: desk\ninitialComponentRegistry: {components: [{componentId: x}]}"}, "app.yaml", "in c"),
        ({"app.yaml": b"appId: desk\nmcpServers: {x: {url: h, headers: {Cookie: a}}}\n"}, "app.yaml", "secret:NAME"),
        ({"component_registry.yaml": b"components: 3\n"}, "component_registry.yaml", ""),
        (component("  - componentId: x\n"), "component_registry.yaml", "needs prompt_template"),
        (component("  - {componentId: x, handlerType: JIT}\n"), "component_registry.yaml", "needs script"),
        ({"schemas/ticket.json": b"{"}, "schemas/ticket.json", "JSON"),
        ({"schemas/ticket.json": b"[]"}, "schemas/ticket.json", "object"),
        ({"schemas/ticket.json": b'{"$ref": "http://x/y"}'}, "schemas/ticket.json", ""),
        ({"evals/triage.jsonl": b'{"input": {"text": 1}, "expected": {"team": "x"}}\n'}, "evals/triage.jsonl", "input"),
        ({"evals/triage.jsonl": b'{"input": {}, "expected": {}}\n'}, "evals/triage.jsonl", "expected"),
        (component("  - {componentId: x, timeuotMs: 5}\n"), "component_registry.yaml", "did you mean `timeoutMs`?"),
        (component("  - {componentId: x, optimization: {epsilo: 1}}\n"), "component_registry.yaml", "`epsilon`?"),
        ({"prompts/triage.yaml": b"template: x\noutputFormt: json\n"}, "prompts/triage.yaml", "`outputFormat`?"),
        ({"evals/triage.jsonl": b"{\n"}, "evals/triage.jsonl", "This line is not strict JSON"),
        ({"notes.md": b"line\nsk-proj-abcdefgh12345678\n"}, "notes.md", "secret:NAME"),
    ],
)  # fmt: skip
def test_a_problem_names_its_file(changes, file, message):
    found = problems(changes)
    assert file in {problem["file"] for problem in found}
    assert any(message in problem["message"] for problem in found)


HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG"


def test_keys_and_roles_are_checked_with_their_lines():
    security = f"""\
appId: desk
securityConfig:
  apiKeys:
    - {{keyId: aaaaaaaa, keyHash: "{HASH}", permissions: ["invoke:*", "inovke:triage"]}}
    - {{keyId: aaaaaaaa, keyHash: plain}}
    - {{keyId: bbbbbbbb, keyHash: "{HASH.replace("argon2id", "argon2i")}"}}
    - {{keyId: cccccccc, keyHash: "{HASH.replace("m=19456", "m=4194304")}"}}
  userRoles:
    ops: {{roleName: opps, permissions: ["tool:core.llm.generate", "everything"]}}
"""
    found = problems({"app.yaml": security.encode()})
    assert [(one["file"], one["path"].removeprefix("/securityConfig"), one["line"]) for one in found] == [
        ("app.yaml", "/apiKeys/0/permissions/1", 4),
        ("app.yaml", "/apiKeys/1/keyId", 5),
        ("app.yaml", "/apiKeys/1/keyHash", 5),
        ("app.yaml", "/apiKeys/2/keyHash", 6),
        ("app.yaml", "/apiKeys/3/keyHash", 7),
        ("app.yaml", "/userRoles/ops/roleName", 9),
        ("app.yaml", "/userRoles/ops/permissions/1", 9),
    ]


def test_policies_that_no_comparator_can_keep_are_told_with_their_lines():
    policies = b"comparator: {team: exactly, total: {numeric: {abs: -1}}, note: free_text}"
    files = FILES | {"component_registry.yaml": REGISTRY.replace(b"decisionField: team", policies)}
    with pytest.raises(DefinitionInvalid) as caught:
        compile_application("desk", files, revision="r", global_configuration={}, check_comparator=Comparator)
    at = "/components/0/optimization/comparator"
    found = {(one["file"], one["path"], one["line"]) for one in caught.value.details["problems"]}
    assert found == {("component_registry.yaml", f"{at}/{field}", 9) for field in ("team", "total")}


def test_routes_have_a_length_and_at_least_one_method():
    for matcher in ("pathPattern: /" + "a" * 512, "pathPattern: /a, methods: []", "pathPattern: /" + "a/" * 65):
        changed = REGISTRY.replace(b'pathPattern: "/tickets/:id", methods: [POST]', matcher.encode())
        assert problems({"component_registry.yaml": changed})[0]["path"].startswith("/components/0/routeMatcher")


CLOSED = b'{"type": "object", "properties": {"text": {}, "id": {}}, "additionalProperties": false'


def test_a_prompt_may_only_ask_for_what_its_input_can_have():
    mistyped = FILES["prompts/triage.yaml"].replace(b"{{ text }}", b"{{ txet }} {{ input.text }} {{ range(3) }}")
    assert compiled({"prompts/triage.yaml": mistyped})  # the input may have more than its schema says
    patterns = {"schemas/ticket.json": CLOSED + b', "patternProperties": {"^t": {}}}'}
    assert compiled({"prompts/triage.yaml": mistyped} | patterns)
    assert compiled({"schemas/ticket.json": CLOSED + b"}"})
    (found,) = problems({"prompts/triage.yaml": mistyped, "schemas/ticket.json": CLOSED + b"}"})
    assert (found["file"], found["line"]) == ("prompts/triage.yaml", 2)
    assert found["message"] == "{{ txet }} is no field of the input of triage; did you mean `text`?"


def test_prompts_and_schemas_are_named_by_name_path_or_inline():
    text = REGISTRY.replace(b"prompt_template: triage", b"prompt_template: prompts/triage.yaml")
    by_path = compiled({"component_registry.yaml": text})
    inline = REGISTRY.replace(b"schemas/ticket.json", FILES["schemas/ticket.json"])
    hashes = {
        app.components["triage"].spec_hash
        for app in (compiled({}), by_path, compiled({"component_registry.yaml": inline}))
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("old", "new", "changes_meaning"),
    [
        (b"Find the team", b"Find the floor", True),
        (b"decisionField: team", b"effects: 1", None),
        (b"decisionField: team", b"comparator: {team: exact}", True),
        (b"    inputSchema", b"    effects: write\n    inputSchema", True),
        (b"    inputSchema", b"    tools: [core.metrics.record]\n    inputSchema", True),
        (b"    inputSchema", b"    timeoutMs: 100\n    inputSchema", False),
        (b"/tickets/:id", b"/t/:id", False),
        (b"decisionField: team", b"decisionField: team, epsilon: 0.01", False),
    ],
)
def test_the_spec_hash_follows_the_meaning_and_nothing_else(old, new, changes_meaning):
    assert old in REGISTRY
    changed = {"component_registry.yaml": REGISTRY.replace(old, new)}
    if changes_meaning is None:
        assert problems(changed)
        return
    before, after = compiled({}), compiled(changed)
    assert (before.components["triage"].spec_hash != after.components["triage"].spec_hash) is changes_meaning


def test_the_prompts_text_is_part_of_the_meaning():
    changed = {"prompts/triage.yaml": FILES["prompts/triage.yaml"].replace(b"Which team?", b"Which group?")}
    assert compiled({}).components["triage"].spec_hash != compiled(changed).components["triage"].spec_hash


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        ("sk-proj-abcdefgh12345678", True),
        ("AKIAIOSFODNN7EXAMPLE", True),
        ("-----BEGIN RSA PRIVATE KEY-----", True),
        ("uhlp_0123456789abcdef_0123456789abcdef0123", True),
        (f"uhlp_admin_{'0f' * 8}_{'1e' * 32}", True),
        ("uhlp-admin-abcdefghijklmnopqrstuvwxyz012345", True),
        ("ghp_" + "a1" * 18, True),
        ("ASIAIOSFODNN7EXAMPLE", True),
        *((f"gh{kind}_" + "a1" * 18, True) for kind in "ousr"),
        ("github_pat_" + "a1" * 18, True),
        ("xoxb-1234567890abc", True),
        ("AIza" + "a1" * 17 + "b", True),
        ("secret:OPENAI_API_KEY", False),
        ("task-management-and-more-12345", False),
        ("sk-learn-is-a-python-library", False),
        ("-----BEGIN CERTIFICATE-----", False),
        ("uhlp_runtime", False),
        ("uhlp_admin_token", False),
    ],
)
def test_what_looks_like_a_key_is_found(text, is_secret):
    assert bool(list(find_secrets(f"a\nx: {text}\n".encode()))) is is_secret


@pytest.mark.parametrize(
    ("own", "overrides", "masked"),
    [
        ("", "", ()),
        ("[email, /card]", "", ["email", "/card"]),
        ("email", "", ["email"]),
        ("[email]", "null", []),
        ("email", "/card", ["/card"]),
    ],
)
def test_a_single_name_to_redact_is_a_list_of_one(own: str, overrides: str, masked: Any) -> None:
    given, nearer = (text and f"redact: {text}" for text in (own, overrides))
    app = f"appId: desk\nconfiguration: {{{given}}}\n".encode()
    one = f"- componentId: a\n  taskDetails: {{prompt_template: triage}}\n  configurationOverrides: {{{nearer}}}\n"
    found = compiled({"app.yaml": app, **component(one)}).components["a"].configuration
    assert found.get("redact", ()) == masked


def test_what_nothing_can_be_masked_by_is_a_problem_where_it_stands() -> None:
    found = problems(
        {
            "app.yaml": b"appId: desk\nconfiguration:\n  redact: 5\n",
            **component(
                "- componentId: a\n  taskDetails: {prompt_template: triage}\n"
                "  configurationOverrides:\n    redact: [email, 5]\n"
            ),
        }
    )
    assert {(one["file"], one["path"], one["line"]) for one in found} == {
        ("app.yaml", "/configuration/redact", 3),
        ("component_registry.yaml", "/components/0/configurationOverrides/redact", 5),
    }


def test_a_configuration_that_no_component_can_be_given_is_a_problem() -> None:
    value = 2**64
    found = problems(
        {
            "app.yaml": f"appId: desk\nconfiguration:\n  most: {value}\n".encode(),
            **component(
                "- componentId: a\n  taskDetails: {prompt_template: triage}\n"
                f"  configurationOverrides:\n    most: {value}\n"
            ),
        }
    )
    assert {(one["file"], one["path"]) for one in found} == {
        ("app.yaml", "/configuration"),
        ("component_registry.yaml", "/components/0/configurationOverrides"),
    }
