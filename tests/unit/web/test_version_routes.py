"""Versions over HTTP: who asks is known, names are checked, refusals keep their reason."""

from collections.abc import AsyncIterator

import httpx
import pytest

from uhlp.web.edge import open_edge
from web.fakes import ADMIN_TOKEN, QuietVersions, services

PATH = "/admin/v1/apps/shop/components/echo"


@pytest.fixture
def versions() -> QuietVersions:
    return QuietVersions()


@pytest.fixture
async def client(versions: QuietVersions) -> AsyncIterator[httpx.AsyncClient]:
    async with open_edge(services(versions=versions)) as edge:
        transport = httpx.ASGITransport(app=edge)
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://here", headers=headers) as client:
            yield client


async def test_versions_and_their_difference_are_shown(client: httpx.AsyncClient) -> None:
    listed = (await client.get(f"{PATH}/versions")).json()
    assert [one["version"] for one in listed["versions"]] == ["v1", "prompt@cdcdcdcdcdcd"]
    answer = await client.get(f"{PATH}/versions/diff", params={"from": "v1", "to": "prompt@cdcdcdcdcdcd"})
    assert answer.json() == {"from": "v1", "to": "prompt@cdcdcdcdcdcd", "diff": "--- v1\n+++ prompt@cdcdcdcdcdcd\n"}


async def test_a_return_is_made_in_the_callers_name(client: httpx.AsyncClient, versions: QuietVersions) -> None:
    answer = await client.post(f"{PATH}/rollback", json={"to": "v1", "reason": "it was better"})
    assert (answer.status_code, answer.json()["inService"]) == (200, "v1")
    assert versions.asked == [("shop", "echo", "v1", "admin", "it was better")]


async def test_a_refused_return_says_why(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{PATH}/rollback", json={"to": "v2", "reason": "r"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "STATE_CONFLICT")
    assert "2 of 20 wrong" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "name", ["", "v0", "v", "V1", "HEAD", "main~1", "prompt@", "prompt@xyz", "abc", "../v1", "v1 "]
)
async def test_a_name_that_is_none_is_refused(client: httpx.AsyncClient, versions: QuietVersions, name: str) -> None:
    refused = await client.post(f"{PATH}/rollback", json={"to": name, "reason": "r"})
    assert refused.status_code == 422
    assert (await client.get(f"{PATH}/versions/diff", params={"from": name, "to": "v1"})).status_code == 422
    assert versions.asked == []


async def test_a_return_without_a_reason_is_refused(client: httpx.AsyncClient, versions: QuietVersions) -> None:
    assert (await client.post(f"{PATH}/rollback", json={"to": "v1", "reason": ""})).status_code == 422
    assert (await client.post(f"{PATH}/rollback", json={"to": "v1"})).status_code == 422
    assert versions.asked == []
