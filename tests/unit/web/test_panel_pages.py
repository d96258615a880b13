"""The panel's pages: what they show, what they never show as HTML, and what their buttons may do for whom."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from uhlp.errors import BadInput, PermissionDenied, UhlpError
from uhlp.models.definition import AppDefinition
from uhlp.web.panel.page import MOST_FIELD_CHARACTERS
from uhlp.web.services import Services
from web.panel_pages import HOSTILE, OWNER, VIEWER, HostileEvolution, html_of, page_of, text_of
from web.stores import stored_services

COMPONENT = """
components:
  - componentId: echo
    taskDetails: {prompt_template: echo}
    routeMatcher: {pathPattern: /echo, methods: [POST]}
"""
PATHS = [
    "/",
    "/apps/shop",
    "/apps/shop/components/echo",
    "/candidates",
    "/candidates/cand-1",
    "/waiting",
    "/money",
    "/sandboxes",
    "/ledger",
    "/events",
    "/settings",
]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Services]:
    """One application in a real registry, with a sample, a request and a candidate full of hostile texts."""
    settings = {"llm.default_model": {"value": HOSTILE, "origin": "environment"}}
    async with stored_services(tmp_path, evolution=HostileEvolution(), effective_settings=settings) as services:
        files = {
            "component_registry.yaml": COMPONENT.encode(),
            "prompts/echo.yaml": f"description: x\ntemplate: |\n  {HOSTILE}\noutputFormat: text\n".encode(),
        }
        definition = AppDefinition(app_id="shop", display_name=HOSTILE)
        await services.registry.register_application(definition, files=files, actor="olga")
        services.windows.observe("shop", "echo", handler="llm", latency_ms=100.0, ok=True, cost_usd=0.01)
        services.samples.record_served(
            "shop", "echo", input={"text": HOSTILE}, output=HOSTILE, implementation="prompt@stable", handler="llm",
            latency_ms=100.0, tokens_in=1, tokens_out=1, cost_usd=0.01, ok=True, trace_id="t", spec_hash="s",
        )  # fmt: skip
        yield services


@pytest.mark.parametrize("path", PATHS)
async def test_no_text_from_elsewhere_becomes_html(shop: Services, path: str) -> None:
    html = await html_of(path, shop)
    assert "<img" not in html
    assert "could not be read" not in html


async def test_what_a_model_wrote_is_shown_as_it_was_written(shop: Services) -> None:
    for path in ("/candidates/cand-1", "/apps/shop/components/echo", "/waiting"):
        assert "&lt;img src=x onerror=alert(1)&gt;" in await html_of(path, shop)


async def test_the_overview_shows_traffic_savings_alarms_and_what_waits(shop: Services) -> None:
    text = await text_of("/", shop)
    for said in (
        "0 of 1 in the last hour",
        "Money today$1.00",
        "$0.75 of $1.00 left",
        "Waiting for you2",
        "fake driver",
    ):
        assert said in text, said


async def test_a_component_tells_what_it_runs_as_and_what_is_missing(shop: Services) -> None:
    text = await text_of("/apps/shop/components/echo", shop)
    for said in ("prompt@stable", "48 of 84", "nothing arrives now", "no data yet", "Return to prompt@cdcdcdcdcdcd"):
        assert said in text, said


async def test_a_candidate_shows_its_evidence_against_both_thresholds(shop: Services) -> None:
    text = await text_of("/candidates/cand-1", shop)
    for said in ("1 of 90", "let in", "refused", "It is paused", "Its values were deleted"):
        assert said in text, said


@pytest.mark.parametrize("path", ["/nowhere", "/apps/none", "/apps/shop/components/none", "/candidates/none"])
async def test_what_is_not_there_is_said_with_the_right_status(shop: Services, path: str) -> None:
    page = await page_of(path, shop)
    assert (page.status, page.title) == (404, "Not found")
    assert "To the overview" in await text_of(path, shop)


async def test_a_state_or_an_entry_that_cannot_be_is_refused(shop: Services) -> None:
    assert (await page_of("/ledger", shop, after="-1")).status == 400


@pytest.mark.parametrize("path", PATHS)
async def test_viewers_are_offered_nothing_that_changes_anything(shop: Services, path: str) -> None:
    html = await html_of(path, shop, administrator=VIEWER)
    assert html.count("data-action") == (1 if path == "/ledger" else 0)  # everybody may have the ledger verified


@pytest.mark.parametrize("path", PATHS)
async def test_viewers_are_refused_every_change_whatever_their_browser_sends(shop: Services, path: str) -> None:
    page = await page_of(path, shop, VIEWER)
    for name in page.actions:
        if name != "verify":
            with pytest.raises(PermissionDenied):
                await page.act(VIEWER, {"action": name, "fields": {"reason": "because"}})
    assert shop.evolution.asked == []


async def test_a_decision_carries_name_and_reason_of_whoever_took_it(shop: Services) -> None:
    page = await page_of("/candidates/cand-1", shop)
    told = await page.act(OWNER, {"action": "decide", "fields": {"verb": "rollback", "reason": "too many mistakes"}})
    assert shop.evolution.asked == [("rollback", "cand-1", "olga", "too many mistakes")]
    assert told == "The candidate is rolled back."


async def test_the_scope_of_a_pause_is_the_pages_and_not_the_browsers(shop: Services) -> None:
    page = await page_of("/apps/shop/components/echo", shop)
    await page.act(OWNER, {"action": "pause-evolution", "fields": {"reason": "a rest", "app_id": "other"}})
    assert shop.evolution.asked == [
        ("pause", {"app_id": "shop", "component_id": "echo", "actor": "olga", "reason": "a rest"})
    ]


async def test_what_is_right_is_said_in_json(shop: Services) -> None:
    page = await page_of("/waiting", shop)
    fields = {"app": "shop", "component": "echo", "hash": "a" * 64, "reason": "I know", "value": '{"queue": "billing"}'}
    await page.act(OWNER, {"action": "adjudicate", "fields": fields})
    said = {"expected": {"queue": "billing"}, "actor": "olga", "reason": "I know"}
    assert shop.evolution.asked == [("adjudicate_input", "shop", "echo", "a" * 64, said)]
    with pytest.raises(BadInput, match="JSON"):
        await page.act(OWNER, {"action": "adjudicate", "fields": {**fields, "value": "billing"}})


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "decide",
        {"action": "decide"},
        {"action": 7, "fields": {}},
        {"action": "decide", "fields": {"reason": 7}},
        {"action": "drop", "fields": {}},
        {"action": "decide", "fields": {"reason": "x" * (MOST_FIELD_CHARACTERS + 1)}},
    ],
)
async def test_a_button_that_does_not_exist_does_nothing(shop: Services, given: Any) -> None:
    page = await page_of("/candidates/cand-1", shop)
    with pytest.raises(BadInput):
        await page.act(OWNER, given)
    assert shop.evolution.asked == []


async def test_the_ledger_is_filtered_and_verified(shop: Services) -> None:
    assert "slower" in await text_of("/ledger", shop)
    filtered = await text_of("/ledger", shop, words="Governor")
    assert "slower" not in filtered
    assert "shadow \u2192 canary" in filtered
    assert "No entry matches" in await text_of("/ledger", shop, words="nobody")
    page = await page_of("/ledger", shop, VIEWER)
    assert await page.act(VIEWER, {"action": "verify", "fields": {}}) == "The ledger holds."
    assert "all 1 entries hold" in str(await page.sections[0].draw())


async def test_a_number_of_the_governor_shows_its_bounds_and_is_changed_by_owners_with_a_reason(shop: Services) -> None:
    page = await page_of("/settings", shop)
    assert "max_self_disagreement" in await text_of("/settings", shop)
    for value, reason, said in (("0.4.1", "x", "JSON"), ("7", "x", "epsilon"), ("0.02", "  ", "reason")):
        fields = {"name": "epsilon", "value": value, "reason": reason}
        with pytest.raises(UhlpError, match=said):
            await page.act(OWNER, {"action": "change", "fields": fields})
    assert shop.run_time.numbers()["numbers"]["epsilon"]["changedBy"] is None


async def test_a_number_that_is_not_set_has_no_unit(shop: Services) -> None:
    assert shop.run_time.numbers()["numbers"]["limits.usd_per_day"]["value"] is None
    numbers = await text_of("/settings", shop)
    assert ("limits.usd_per_day" in numbers, "USD a day" in numbers.replace("(USD a day)", "")) == (True, False)


async def test_an_application_is_drafted_checked_and_registered_by_owners_alone(shop: Services) -> None:
    assert (await page_of("/create", shop, VIEWER)).status == 403
    assert "Create an application" in await html_of("/", shop)
    assert "Create an application" not in await html_of("/", shop, administrator=VIEWER)
    page = await page_of("/create", shop)
    with pytest.raises(BadInput, match="no draft yet"):
        await page.act(OWNER, {"action": "register", "fields": {}})
    fields = {"description": f"Summarise {HOSTILE}", "template": ""}
    await page.act(OWNER, {"action": "draft", "fields": fields})
    html = "".join([str(await section.draw()) for section in page.sections])
    assert "<img" not in html
    assert "the template summarise" in html
    for hostile in (f"appId: letters\ncolour: {HOSTILE}\n", "appId: letters\n"):
        fields = {"file:app.yaml": hostile, "file:prompts/a.yaml": "template: x\n", "file:schemas/a.json": " "}
        told = await page.act(OWNER, {"action": "check", "fields": fields})
        assert "<img" not in str(await page.sections[1].draw())
    assert told == "It can be registered."
    with pytest.raises(BadInput, match="problem"):
        await page.act(OWNER, {"action": "register", "fields": {"file:app.yaml": "appId: shop"}})
    assert await page.act(OWNER, {"action": "register", "fields": fields}) == "letters is registered."
    assert "letters" in shop.registry.app_ids()
    assert "It serves from now on" in str(await page.sections[1].draw())


class FreeEvolution(HostileEvolution):
    """Models took tokens and no dollars; `unpriced` of the calls had no known price."""

    unpriced = 0

    async def candidate(self, candidate_id: str) -> dict[str, Any]:
        return {**await super().candidate(candidate_id), "costUsd": 0.0, "tokensIn": 900, "tokensOut": 90}

    async def usage(self, app_id: str) -> dict[str, Any]:
        known = await super().usage(app_id)
        return {**known, "total": {**known["total"], "usd": 0.0, "unpricedCalls": self.unpriced}}


@pytest.mark.parametrize("path", ["/apps/shop", "/apps/shop/components/echo", "/candidates/cand-1"])
async def test_a_price_of_nothing_is_told_from_one_that_nobody_knows(tmp_path: Path, path: str) -> None:
    evolution = FreeEvolution()
    async with stored_services(tmp_path, evolution=evolution) as services:
        files = {"component_registry.yaml": COMPONENT.encode(), "prompts/echo.yaml": b"template: x\n"}
        await services.registry.register_application(AppDefinition(app_id="shop"), files=files, actor="olga")
        services.windows.observe("shop", "echo", handler="llm", latency_ms=1.0, ok=True, tokens_in=9, cost_usd=0.0)
        free = await text_of(path, services)
        evolution.unpriced = 3
        unknown = await text_of(path, services)
    assert ("no price" in free, "no price" in unknown) == (False, True)
