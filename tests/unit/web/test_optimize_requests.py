"""Requests to shorten a prompt: what cannot be judged is refused before anything is spent."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from uhlp.evals.component_datasets import ComponentDatasets
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox
from uhlp.models.definition import AppDefinition
from uhlp.optimization.compress import OptimizeRequest, OptimizeResult
from uhlp.optimization.compress.optimize_run import OptimizeRuns
from uhlp.registry.registered_prompts import RegisteredPrompts
from uhlp.web.services import Services
from web.stores import stored_services

APP, PROMPT, URL = "desk", "summary", "/admin/v1/optimize-requests"
ORDER = {"promptNs": APP, "promptKey": PROMPT, "requestId": "r-1"}


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Services]:
    async with stored_services(tmp_path) as services:
        mailbox = InMemoryMailbox(name="optimize", body=OptimizeRequest, reply=OptimizeResult, clock=services.clock)
        try:
            yield replace(
                services, prompts=RegisteredPrompts(registry=services.registry),
                datasets=ComponentDatasets(registry=services.registry, samples=services.samples),
                optimize_runs=OptimizeRuns(values=services.state.framework), optimize_requests=mailbox, strategies=(),
            )  # fmt: skip
        finally:
            await mailbox.aclose()


async def register(services: Services, *, comparator: dict[str, str], judge: str | None = None) -> None:
    """An application whose prompt writes prose; twenty right answers are known."""
    component = {
        "componentId": "summarise", "taskDetails": {"prompt_template": PROMPT},
        "routeMatcher": {"pathPattern": "/cases"}, "optimization": {"comparator": comparator},
    }  # fmt: skip
    golden = [
        {"id": str(n), "input": {"n": n}, "expected": {"text": f"Somebody has asked for the whereabouts of order {n}."}}
        for n in range(20)
    ]
    files = {
        "component_registry.yaml": json.dumps({"components": [component]}).encode(),
        f"prompts/{PROMPT}.yaml": b"sections:\n  - {key: rules, body: Be brief.}\n",
        "evals/summarise.jsonl": b"".join(json.dumps(one).encode() + b"\n" for one in golden),
    }
    definition = {"appId": APP, "llm": {} if judge is None else {"judgeModel": judge}}
    await services.registry.register_application(AppDefinition.model_validate(definition), files=files)


@pytest.mark.parametrize("comparator", [{}, {"text": "free_text"}])
async def test_free_text_without_a_judge_is_refused_and_nothing_is_kept_or_sent(
    stored: Services, client_of: Any, admin: Any, comparator: dict[str, str]
) -> None:
    await register(stored, comparator=comparator)
    client = await client_of(stored)
    refused = await client.post(URL, json=ORDER, headers=admin)
    assert refused.status_code == 422, refused.text
    told = refused.json()["error"]["message"]
    assert "free text" in told
    assert "set llm.judgeModel of desk" in told.replace("Set", "set")
    assert await stored.optimize_runs.all_of(APP) == []
    assert await stored.optimize_requests.receive() == []


@pytest.mark.parametrize(
    ("comparator", "judge", "more", "kind"),
    [
        ({}, "wise", {}, "judge"),
        ({"text": "free_text"}, "wise", {}, "judge"),
        ({"text": "exact"}, None, {}, "comparator"),
        ({}, None, {"evaluator": {"kind": "schema", "schema": {"type": "object"}}}, "schema"),
        (
            {},
            None,
            {"dataset": {"samples": [{"id": "1", "input": {"n": 1}, "expected": {"text": "one"}}]}},
            "comparator",
        ),
    ],
)
async def test_what_can_be_judged_is_sent_with_who_judges(
    stored: Services, client_of: Any, admin: Any, comparator: dict[str, str], judge: str | None, more: Any, kind: str
) -> None:
    await register(stored, comparator=comparator, judge=judge)
    client = await client_of(stored)
    sent = await client.post(URL, json={**ORDER, **more}, headers=admin)
    assert sent.status_code == 202, sent.text
    (message,) = await stored.optimize_requests.receive()
    assert message.body.evaluator is not None
    assert message.body.evaluator.kind == kind


async def test_a_prompt_that_is_not_there_is_told_with_the_nearest_name(
    stored: Services, client_of: Any, admin: Any
) -> None:
    await register(stored, comparator={})
    client = await client_of(stored)
    for name, told in (("sumary", "did you mean `summary`?"), ("x", "there are summary")):
        unknown = await client.post(URL, json={**ORDER, "promptKey": name}, headers=admin)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "PROMPT_NOT_FOUND")
        assert told in unknown.json()["error"]["message"]
