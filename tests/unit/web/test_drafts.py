"""POST /admin/v1/drafts: files and problems, and nothing registered."""

import pytest


async def test_a_draft_comes_with_its_source_and_registers_nothing(stored, client_of, admin) -> None:
    client = await client_of(stored)
    answer = await client.post("/admin/v1/drafts", json={"description": "Extract the total"}, headers=admin)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["source"], told["template"], told["problems"]) == ("template", "extract", [])
    assert {"app.yaml", "component_registry.yaml", "prompts/extract.yaml"} <= told["files"].keys()
    assert (await client.get("/admin/v1/apps", headers=admin)).json()["appIds"] == []


@pytest.mark.parametrize(
    "body", [{}, {"description": " "}, {"description": "x" * 5_000}, {"description": "x", "template": "novel"}, []]
)
async def test_what_describes_nothing_is_refused(stored, client_of, admin, body) -> None:
    client = await client_of(stored)
    assert (await client.post("/admin/v1/drafts", json=body, headers=admin)).status_code == 422


async def test_drafts_are_for_owners(stored, client_of, bearer_of) -> None:
    client = await client_of(stored)
    headers = await bearer_of("operator")
    assert (await client.post("/admin/v1/drafts", json={"description": "x"}, headers=headers)).status_code == 403
