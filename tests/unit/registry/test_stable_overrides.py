from hashlib import sha256
from typing import Any

import pytest
import yaml

from uhlp.errors import DefinitionInvalid
from uhlp.registry.application_compiler import compile_application
from uhlp.registry.snapshot import AppSnapshot

PROMPT = "template: |\n  Sort the ticket very carefully.\n\n  ## Ticket\n  {{ text }}\n"
LONG, SHORT = "Sort the ticket very carefully.\n\n", "Sort the ticket.\n\n"
TICKET = "## Ticket\n{{ text }}\n"


def digest(body: str) -> str:
    return sha256(body.encode()).hexdigest()


def override_file(body: str = SHORT, *, of: str = LONG, key: str = "preamble", **fields: Any) -> bytes:
    sections = {key: {"expectedHash": digest(of), "body": body}}
    return yaml.safe_dump({"createdAt": 1.0, "sections": sections, **fields}).encode()


def compiled(prompt: str = PROMPT, **overrides: bytes) -> AppSnapshot:
    files = {
        "app.yaml": b"appId: desk\n",
        "component_registry.yaml": b"components: [{componentId: sort, taskDetails: {prompt_template: triage}}]\n",
        "prompts/triage.yaml": prompt.encode(),
        **{f"overrides/{tag}/triage.yaml": raw for tag, raw in overrides.items()},
    }
    return compile_application("desk", files, revision="r", global_configuration={})


def served(app: AppSnapshot) -> str:
    artifact = app.components["sort"].prompt_artifact
    assert artifact is not None
    return artifact.content.decode()


def problems(prompt: str = PROMPT, **overrides: bytes) -> list[dict[str, Any]]:
    with pytest.raises(DefinitionInvalid) as refused:
        compiled(prompt, **overrides)
    return refused.value.details["problems"]


def test_what_serves_is_the_prompt_with_its_overrides_and_it_means_the_same() -> None:
    plain, overridden = compiled(), compiled(stable=override_file())
    assert "very carefully" in served(plain)
    assert "very carefully" not in served(overridden)
    assert overridden.components["sort"].spec_hash == plain.components["sort"].spec_hash
    assert overridden.stale_overrides == ()


def test_a_section_that_was_changed_since_serves_as_its_file_has_it() -> None:
    app = compiled(PROMPT.replace("carefully", "slowly"), stable=override_file())
    assert "very slowly" in served(app)
    assert app.stale_overrides == ("triage/preamble",)


def test_other_tags_do_not_serve_and_parents_do() -> None:
    shorter = override_file("## Ticket\n{{ text }}", of=TICKET, key="ticket", parent="half")
    assert "very carefully" in served(compiled(half=override_file()))
    assert "very carefully" not in served(compiled(half=override_file(), stable=shorter))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (override_file("## Ticket\nsecret\n", of=TICKET, key="ticket"), "lacks"),
        (override_file("{% for a in range(9) %}x{% endfor %}"), "control structures"),
        (override_file(parent="gone"), "is not there"),
        (override_file(parent="stable"), "do not end"),
        (b"sections: 1\n", "required"),
        (b": : :\n", ""),
    ],
)
def test_an_override_that_may_not_serve_is_a_problem_of_its_file(raw: bytes, why: str) -> None:
    found = problems(stable=raw)
    assert found[0]["file"] == "overrides/stable/triage.yaml"
    assert why in found[0]["message"]
