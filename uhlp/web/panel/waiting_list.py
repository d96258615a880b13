"""What waits for people: open questions, and saying what is right."""

from typing import Any

from uhlp import strict_json
from uhlp.errors import BadInput
from uhlp.web.panel import requests
from uhlp.web.panel.markup import Markup, Question, as_json, block, tag
from uhlp.web.panel.page import Action, Fields, Visit
from uhlp.web.services import Services


async def open_questions(services: Services) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(application, component, questions) for every component that has some."""
    found = []
    for app_id in services.registry.app_ids():
        for component_id in services.registry.snapshot(app_id).components:
            questions = (await services.evolution.adjudications(app_id, component_id))["questions"]
            if questions:
                found.append((app_id, component_id, questions))
    return found


def adjudicate_action(visit: Visit) -> Action:
    """Say what is right for an input, which the button names by its hash."""

    async def adjudicate(fields: Fields) -> str:
        told = await visit.services.evolution.adjudicate_input(
            fields.get("app", ""),
            fields.get("component", ""),
            fields.get("hash", ""),
            expected=expected_of(fields),
            actor=visit.actor,
            reason=fields.get("reason", ""),
        )
        effects = [f"{one['candidateId']}: {one['effect']}." for one in told.get("effects", ())]
        return " ".join(["Noted: it is the reference for this input from now on.", *effects])

    return Action(requests.ADJUDICATE, adjudicate)


def expected_of(fields: Fields) -> Any:
    """The answer that a person calls right, as JSON; BadInput when it is none."""
    return json_value(fields, "What is right")


def json_value(fields: Fields, what: str) -> Any:
    """What a person wrote as JSON; BadInput when it is none."""
    try:
        return strict_json.loads(fields.get("value", "").encode(), subject=what)
    except BadInput as error:
        raise BadInput(f"{what} is written as JSON (a text in quotes): {error.message}") from None


def verdict_buttons(
    visit: Visit,
    fields: dict[str, str],
    answers: list[tuple[str, Any]],
    *,
    action: str = "adjudicate",
    request: str = requests.ADJUDICATE,
) -> Markup:
    """One button for each answer that may be right, and one for another."""
    text = "It is the reference for this input from now on, above any model."
    pressed = [
        visit.button(
            request,
            f"{name} is right",
            action,
            fields,
            asks=Question(f"{name} is right", text, name="value", label="Right is (JSON)", value=as_json(value)),
        )
        for name, value in answers
    ]
    other = Question("Something else is right", text, name="value", label="Right is (JSON)")
    pressed.append(visit.button(request, "Something else", action, fields, asks=other))
    return tag("div", *pressed, class_="buttons")


def side_by_side(parts: list[tuple[str, Any]], label: str) -> Markup:
    """Values next to each other as JSON, each under its name; Markup is our own words."""
    columns = []
    for name, value in parts:
        text = value if isinstance(value, Markup) else as_json(value)
        columns.append(tag("div", tag("h4", name), block(text, f"{name}: {label}")))
    return tag("div", *columns, class_="sides")
