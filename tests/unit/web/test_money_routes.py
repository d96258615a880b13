"""What money has to say over HTTP."""

import pytest

from uhlp.web.services import Services
from web.fakes import services


async def test_usage_has_the_requests_of_the_window_and_what_models_took(client_of, admin) -> None:
    edge: Services = services()
    edge.windows.observe("shop", "echo", handler="jit", latency_ms=2.0, ok=True)
    client = await client_of(edge)
    told = (await client.get("/admin/v1/apps/shop/usage?windowS=600", headers=admin)).json()
    echo = told["components"]["echo"]
    assert (told["windowS"], echo["count"], echo["latencyMs"]["max"]) == (600, 1, 2.0)
    assert echo["today"]["byPurpose"]["serve"]["calls"] == 3
    assert (told["today"]["usd"], told["budget"]["usdPerDay"]) == (0.5, 2.0)


async def test_usage_has_apart_what_the_present_handler_answered(client_of, admin) -> None:
    edge: Services = services()
    for handler, latency_ms in (("jit", 2.0), ("jit", 3.0), ("llm", 100.0)):
        edge.windows.observe("shop", "echo", handler=handler, latency_ms=latency_ms, ok=True)
    client = await client_of(edge)
    told = (await client.get("/admin/v1/apps/shop/usage", headers=admin)).json()["components"]["echo"]
    assert edge.registry.snapshot("shop").components["echo"].definition.handler_type == "LLM"
    assert (told["count"], told["latencyMs"]["p50"]) == (3, pytest.approx(3.0, rel=0.02))
    assert (told["present"]["count"], told["present"]["latencyMs"]["p50"]) == (1, 100.0)


async def test_savings_and_recommendations_are_told(client_of, admin) -> None:
    client = await client_of(services())
    savings = (await client.get("/admin/v1/apps/shop/savings", headers=admin)).json()
    assert savings["total"]["net"]["usd"] == 1.0
    listed = (await client.get("/admin/v1/recommendations", headers=admin)).json()["recommendations"]
    assert [(one["componentId"], one["start"]) for one in listed] == [("echo", "/candidates/cand-1/approve")]


@pytest.mark.parametrize(("query", "days"), [("", 7), ("?days=1", 1), ("?days=30", 30)])
async def test_savings_are_told_of_as_many_days_as_asked(client_of, admin, query: str, days: int) -> None:
    client = await client_of(services())
    told = (await client.get(f"/admin/v1/apps/shop/savings{query}", headers=admin)).json()
    assert len(told["days"]) == len(told["components"]["echo"]["days"]) == days


@pytest.mark.parametrize("days", ["0", "36", "-1", "all", "1.5"])
async def test_days_that_are_not_kept_are_refused(client_of, admin, days: str) -> None:
    client = await client_of(services())
    refused = await client.get(f"/admin/v1/apps/shop/savings?days={days}", headers=admin)
    assert (refused.status_code, "query/days" in refused.json()["error"]["message"]) == (422, True)


async def test_money_is_nobodys_business_without_a_token(client_of) -> None:
    client = await client_of(services())
    for path in ("/apps/shop/usage", "/apps/shop/savings", "/recommendations"):
        assert (await client.get(f"/admin/v1{path}")).status_code == 401
