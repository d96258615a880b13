"""Triggers of components are checked at registration, each problem with its line."""

from typing import Any

import pytest

from tests.unit.registry.test_application_compiler import compiled, problems
from uhlp.models.trigger import CallbackTrigger, CronTrigger, EventTrigger, QueueTrigger

HEAD = """\
components:
  - componentId: triage
    taskDetails: {prompt_template: triage}
    inputSchema: schemas/ticket.json
    triggers:
"""
OTHER = """\
  - componentId: other
    taskDetails: {prompt_template: triage}
    triggers:
"""


def registry(*triggers: str, other: tuple[str, ...] = ()) -> dict[str, bytes | None]:
    text = HEAD + "".join(f"      - {one}\n" for one in triggers)
    if other:
        text += OTHER + "".join(f"      - {one}\n" for one in other)
    return {"component_registry.yaml": text.encode()}


def test_every_kind_of_trigger_is_read() -> None:
    app = compiled(
        registry(
            "{source: trigger, event: ticket.opened}",
            '{source: cron, schedule: "*/5 * * * *", timezone: Europe/Paris, input: {text: tick}, maxLateS: 60}',
            "{source: queue, queue: tickets, maxDeliveries: 3, concurrency: 2, visibilityTimeoutS: 10}",
            '{source: callback, name: paid, verification: {secret: "secret:PAY", header: X-Sig, prefix: "sha256="}}',
        )
    )
    event, cron, queue, callback = app.components["triage"].definition.triggers
    assert event == EventTrigger(source="trigger", event="ticket.opened")
    assert isinstance(cron, CronTrigger)
    assert (cron.timezone, cron.max_late_s) == ("Europe/Paris", 60)
    assert isinstance(queue, QueueTrigger)
    assert (queue.max_deliveries, queue.concurrency, queue.visibility_timeout_s) == (3, 2, 10)
    assert isinstance(callback, CallbackTrigger)
    assert callback.verification is not None
    assert callback.verification.secret == "secret:PAY"


@pytest.mark.parametrize(
    ("trigger", "place", "says"),
    [
        ('{source: cron, schedule: "* * * *"}', "", "has 4 fields"),
        ('{source: cron, schedule: "0 25 * * *"}', "", "Bad hour"),
        ('{source: cron, schedule: "0 0 31 2 *"}', "", "is no cron schedule"),
        ('{source: cron, schedule: "0 0 * * *", timezone: Europe/Nowhere}', "", "is no time zone"),
        ('{source: cron, schedule: "0 0 * * *", input: {text: 3}}', "/input/text", "string"),
        ('{source: cron, schedule: "0 0 * * *", maxLateS: 0}', "/maxLateS", "greater than"),
        ("{source: queue, queue: A queue}", "/queue", "should match pattern"),
        ("{source: queue, queue: q, maxDeliverys: 3}", "/maxDeliverys", "did you mean `maxDeliveries`"),
        ("{source: trigger, event: ../x}", "/event", "should match pattern"),
        ("{source: callback, name: paid, verification: {secret: hunter2}}", "/verification/secret", "pattern"),
        ("{source: rabbit, queue: q}", "", "'rabbit'"),
        ("{event: e}", "", "source"),
        ('{source: trigger, event: e, inputMapping: {text: "trigger.input.("}}', "/inputMapping/text", "not valid"),
        ("{source: trigger, event: e, inputMapping: {text: steps.a.output}}", "/inputMapping/text", "not steps"),
        ("{source: callback, name: c, inputMapping: {text: trigger.body}}", "/inputMapping/text", "trigger.input"),
    ],
)
def test_a_trigger_that_cannot_be_is_told_with_its_line(trigger: str, place: str, says: str) -> None:
    (problem,) = problems(registry(trigger))
    assert problem["path"] == f"/components/0/triggers/0{place}"
    assert problem["line"] == 6
    assert says in problem["message"]


@pytest.mark.parametrize(
    ("trigger", "path", "says"),
    [
        ("{source: queue, queue: tickets}", "/queue", "the queue tickets starts triage already"),
        ("{source: callback, name: paid}", "/name", "the callback paid starts triage already"),
    ],
)
def test_a_queue_and_a_callback_have_one_component(trigger: str, path: str, says: str) -> None:
    (problem,) = problems(registry(trigger, other=(trigger,)))
    assert problem == {
        "file": "component_registry.yaml",
        "path": f"/components/1/triggers/0{path}",
        "line": 10,
        "message": says,
    }


def test_an_event_and_a_schedule_may_start_several_components_but_each_once() -> None:
    event, cron = "{source: trigger, event: e}", '{source: cron, schedule: "0 0 * * *", input: {text: a}}'
    later = '{source: cron, schedule: "0 0 * * *", input: {text: b}}'
    compiled(registry(event, cron, later, other=(event, cron)))
    found: list[dict[str, Any]] = problems(registry(event, cron, event, cron))
    assert [one["message"] for one in found] == [
        "the event e starts it already",
        "the schedule 0 0 * * * in UTC with this input starts it already",
    ]
