"""An application out of a prompt and an example: what is inferred, and what cannot be used."""

import pytest
import yaml

from uhlp.authoring.example_application import application_of
from uhlp.errors import DefinitionInvalid, ValidationFailed
from uhlp.registry.application_compiler import compile_application

IN, OUT = {"text": "3 pears", "loud": True}, {"quantity": 3, "item": "pears"}


def compiled(files: dict[str, str]):
    encoded = {path: text.encode() for path, text in files.items()}
    return compile_application("shop", encoded, revision="r", global_configuration={}).components["answer"]


def test_schemas_fit_the_example_and_it_becomes_a_golden_one() -> None:
    component = compiled(application_of("shop", "Read the order: {{ text }}", [(IN, OUT)]))
    assert component.input_validator is not None
    assert component.output_validator is not None
    assert component.input_validator.problems(IN) == []
    assert component.input_validator.problems({"text": 3}) != []
    assert component.output_validator.problems({"quantity": "three"}) != []
    assert [one.expected for one in component.golden] == [OUT]
    assert component.definition.route_matcher is not None


def test_a_prompt_that_names_no_field_gets_them_all() -> None:
    files = application_of("shop", "Read the order: quantity and item.\n\nAnswer with JSON.\n", [(IN, OUT)])
    template = yaml.safe_load(files["prompts/answer.yaml"])["template"]
    assert template == (
        "Read the order: quantity and item.\n\nAnswer with JSON.\n\ntext: {{ text }}\nloud: {{ loud }}\n"
    )
    one = application_of("shop", "Shout it.", [({"text": "a"}, "A")])
    assert "{{ text }}" in one["prompts/answer.yaml"]
    assert yaml.safe_load(one["prompts/answer.yaml"])["outputFormat"] == "text"


def test_a_prompt_that_does_not_name_the_fields_of_the_answer_gets_their_schema() -> None:
    files = application_of("shop", "Read the order: {{ text }}", [(IN, OUT)])
    assert '"quantity": {"type": "integer"}' in yaml.safe_load(files["prompts/answer.yaml"])["template"]
    assert compiled(files).prompt is not None


def test_a_choice_that_repeats_is_what_evidence_is_kept_by() -> None:
    examples = [({"text": "a"}, {"queue": "x"}), ({"text": "b"}, {"queue": "x"}), ({"text": "c"}, {"queue": "y"})]
    component = compiled(application_of("shop", "Sort: {{ text }}", examples))
    assert component.definition.optimization.decision_field == "queue"


@pytest.mark.parametrize("given", ["a text", 3, {}, {"two words": 1}])
def test_an_input_is_an_object_with_names_that_a_prompt_can_use(given: object) -> None:
    with pytest.raises(ValidationFailed):
        application_of("shop", "Sort it.", [(given, 1)])


def test_a_prompt_that_is_no_template_is_told() -> None:
    with pytest.raises(DefinitionInvalid):
        application_of("shop", "Sort {{ text", [({"text": "a"}, 1)])
