import hashlib
import json

import pytest

from uhlp.errors import DefinitionInvalid
from uhlp.prompts import Prompt, parse_prompt

TRIAGE = """\
description: Which desk a ticket belongs to
model: small-model
parameters: {temperature: 0}
template: |
  You sort tickets for {{ company }}.

  ## Rules
  Answer one of {% for desk in desks %}{{ desk }} {% endfor %}.

  ## Ticket
  {{ ticket.subject }}: {{ ticket.body | trim }}
outputFormat: json
outputSchema:
  type: object
  properties: {desk: {enum: [billing, no, on]}}
examples:
  - {input: {ticket: {subject: a, body: b}}, output: {desk: billing}}
"""


def parse(text: str) -> Prompt:
    return parse_prompt(text.encode(), path="prompts/triage.yaml")


def problems(text: str) -> list[dict]:
    with pytest.raises(DefinitionInvalid) as raised:
        parse(text)
    return raised.value.details["problems"]


def test_a_template_asks_for_its_undeclared_variables() -> None:
    assert parse(TRIAGE).variables == {"company", "desks", "ticket"}


def test_names_that_jinja_the_runner_or_the_template_defines_are_not_variables() -> None:
    assert parse("template: '{% set a = 1 %}{{ a }}{{ range(3) | list }}{{ input.x }}'").variables == frozenset()


def test_a_template_is_one_section_per_markdown_heading() -> None:
    prompt = parse(TRIAGE)
    assert [section.key for section in prompt.sections] == ["preamble", "rules", "ticket"]
    assert "".join(section.body for section in prompt.sections) == prompt.text


def test_headings_in_code_fences_and_repeated_headings_keep_sections_apart() -> None:
    prompt = parse("template: |\n  # A\n  ```\n  # not a heading\n  ```\n  # A\n  text\n")
    assert [section.key for section in prompt.sections] == ["a", "a-2"]


def test_written_sections_are_joined_by_blank_lines() -> None:
    prompt = parse(
        "sections:\n  - {key: role, body: You sort.}\n  - {key: rules, body: Be brief., compressible: false}\n"
    )
    assert prompt.text == "You sort.\n\nBe brief."
    assert [section.compressible for section in prompt.sections] == [True, False]


def test_a_section_hash_changes_with_its_own_body_only() -> None:
    before, after = parse(TRIAGE), parse(TRIAGE.replace("{{ ticket.subject }}", "{{ ticket.title }}"))
    same = [old.sha256 == new.sha256 for old, new in zip(before.sections, after.sections, strict=True)]
    assert same == [True, True, False]
    assert before.sections[1].sha256 == hashlib.sha256(before.sections[1].body.encode()).hexdigest()


def test_the_artifact_is_what_a_runner_needs_and_nothing_else() -> None:
    artifact = json.loads(parse(TRIAGE).artifact())
    assert artifact["template"] == parse(TRIAGE).text
    assert sorted(artifact) == ["examples", "model", "outputFormat", "outputSchema", "parameters", "template"]


def test_the_artifact_does_not_depend_on_spelling() -> None:
    assert parse(TRIAGE).artifact() == parse(TRIAGE.replace("temperature: 0", "'temperature': 0.0")).artifact()


def test_words_that_yaml_1_1_reads_as_booleans_or_dates_stay_words() -> None:
    prompt = parse(TRIAGE + "# comment\n")
    assert prompt.definition.output_schema["properties"]["desk"]["enum"] == ["billing", "no", "on"]
    assert parse("template: x\nparameters: {since: 2026-01-01}").definition.parameters == {"since": "2026-01-01"}


@pytest.mark.parametrize(
    ("document", "line", "words"),
    [
        ("description: d\ntemplate: |\n  fine\n  {% if x %}\n  open\n", 4, "endif"),
        ("template: |\n  a\n  {{ x | shout }}\n", 3, "No filter named 'shout'"),
        ("template: |\n  a\n  {% include 'other' %}\n", 3, "stands alone"),
        ("template: one {{ line\n", 1, "end of template"),
        ("sections:\n  - {key: a, body: fine}\n  - key: b\n    body: |\n      ok\n      {{ }}\n", 6, "an expression"),
        ("template: x\noutputFormat: xml\n", 2, "json"),
        ("template: x\n\ntempalte: y\n", 3, "did you mean `template`?"),
        ("template: x\ntemplate: y\n", 2, "twice"),
        ("template: &a x\ndescription: *a\n", 2, "aliases"),
        ("template: x\n: : :\n", 2, ""),
        ("template: x\nparameters: {1: a}\n", 2, "quotes"),
        ("template: x\nparameters: {a: !!python/name:os.system ''}\n", 2, "tag"),
        ("template: x\nparameters: {a: 1e999}\n", 2, "too large"),
        ("template: x\nparameters: " + "[" * 100 + "]" * 100, 2, "deeper"),
        ("description: nothing else\n", 1, "either"),
        ("- a list\n", 1, "mapping"),
        ("", 1, "mapping"),
        ("sections:\n  - {key: a, body: x}\n  - {key: a, body: y}\n", 3, "twice"),
        ("template: x\noutputSchema:\n  properties:\n    a: {type: objekt}\n", 4, "objekt"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_the_line_of_the_file(document: str, line: int, words: str) -> None:
    first = problems(document)[0]
    assert first["line"] == line
    assert words in first["message"]
    assert first["path"].startswith("prompts/triage.yaml")


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(DefinitionInvalid, match="UTF-8"):
        parse_prompt(b"template: \xff", path="prompts/x.yaml")


@pytest.mark.parametrize("expression", ['"a" | center(10**12)', '"a" * 10**12', "2 ** 10 ** 10"])
def test_constants_are_not_computed_while_a_template_is_checked(expression: str) -> None:
    assert parse("template: '{{ " + expression + " }}'").variables == frozenset()


def test_a_template_that_nests_without_end_is_refused() -> None:
    assert "deep" in problems("template: '{{ " + "(" * 5000 + ")" * 5000 + " }}'")[0]["message"]
