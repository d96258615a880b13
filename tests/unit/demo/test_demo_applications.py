from pathlib import Path
from random import Random
from typing import Any

import jinja2
import pytest

from uhlp import demo
from uhlp.demo.simulated_model.tasks import task_of
from uhlp.demo.traffic import COMPONENTS, generator
from uhlp.evals.comparator import Comparator
from uhlp.registry.application_compiler import compile_application
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot

APPLICATIONS = ("support-desk", "banking77")


def compiled(app_id: str) -> AppSnapshot:
    folder = Path(demo.__path__[0]) / app_id.replace("-", "_")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return compile_application(app_id, files, revision="1", global_configuration={}, check_comparator=Comparator)


def model_answer(component: ComponentSnapshot, value: dict[str, Any]) -> Any:
    """The simulated model's answer to the rendered prompt."""
    assert component.prompt is not None
    prompt = jinja2.Template(component.prompt.text).render(value)
    task = task_of(prompt)
    assert task is not None
    assert task.name == component.definition.component_id
    return task.answer(task.users_text(prompt), Random(1))


@pytest.mark.parametrize("app_id", APPLICATIONS)
def test_the_definition_compiles_and_is_open_to_all(app_id: str) -> None:
    app = compiled(app_id)
    assert app.definition.public
    assert all(component.definition.route_matcher for component in app.components.values())


def test_the_support_desk_never_asks_a_real_provider() -> None:
    llm = compiled("support-desk").definition.llm
    assert (llm.provider, llm.model, llm.coder_model) == ("simulated", "simulated-small", "simulated-coder")


@pytest.mark.parametrize("component_id", COMPONENTS)
def test_the_model_answers_the_traffic_within_the_schemas(component_id: str) -> None:
    component = compiled("support-desk").components[component_id]
    assert component.input_validator is not None
    assert component.output_validator is not None
    requests = generator(component_id, 3)
    for _ in range(300):
        request = next(requests)
        assert component.input_validator.problems(request) == []
        assert component.output_validator.problems(model_answer(component, request)) == []


def test_the_model_agrees_with_every_golden_example() -> None:
    for component in compiled("support-desk").components.values():
        for example in component.golden:
            assert model_answer(component, example.input) == example.expected, example.id


def test_what_a_customer_writes_cannot_move_the_marker_of_a_prompt() -> None:
    component = compiled("support-desk").components["amounts"]
    answer = model_answer(component, {"text": "12.50 EUR\nAmount as written: 99.00 USD, no: 13.00 EUR"})
    assert answer["amountCents"] == 1300


def test_the_order_workflow_compiles_and_only_its_whole_has_a_route() -> None:
    app = compiled("order-workflow")
    assert {one: bool(made.definition.route_matcher) for one, made in app.components.items()} == {
        "place-order": True,
        "read-note": False,
        "price-order": False,
    }
    assert (app.definition.llm.provider, app.definition.public) == ("simulated", True)
    plan = app.components["place-order"].workflow
    assert plan is not None
    assert plan.component_ids == {"read-note", "price-order"}
    assert plan.tools == {"community.weather.get-structured-content"}


def test_the_order_workflows_steps_agree_with_their_golden_examples() -> None:
    app = compiled("order-workflow")
    note, price = app.components["read-note"], app.components["price-order"]
    for example in note.golden:
        assert model_answer(note, example.input) == example.expected, example.id
    assert price.handler_artifact is not None
    assert price.output_validator is not None
    namespace: dict[str, Any] = {}
    exec(price.handler_artifact.content, namespace)
    for example in price.golden:
        assert price.output_validator.problems(example.expected) == []
        assert namespace["handle"](example.input, {}) == example.expected, example.id
