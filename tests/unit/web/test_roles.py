"""Roles: what viewers, operators and owners may do, decided by one table for every route."""

import json
import re

import httpx
import pytest

from uhlp.access.administrator import Administrator, Role
from uhlp.errors import PermissionDenied
from uhlp.web.admin.application import build_admin
from uhlp.web.admin.role_table import ROWS, check_role, needed_role
from web.fakes import services

OPERATORS_MAY = {
    "POST /admin/v1/apps/{app_id}/components/{component_id}/optimize",
    "POST /admin/v1/apps/{app_id}/components/{component_id}/rollback",
    "POST /admin/v1/candidates/{candidate_id}/{action}",
    "POST /admin/v1/evolution/pause",
    "POST /admin/v1/evolution/resume",
    "POST /admin/v1/apps/{app_id}/samples",
    "POST /admin/v1/apps/{app_id}/samples/{sample_id}/adjudicate",
    "POST /admin/v1/apps/{app_id}/adjudications",
    "POST /admin/v1/apps/{app_id}/executions/{execution_id}/cancel",
    "POST /admin/v1/sandboxes/{sandbox_id}/recycle",
    "POST /admin/v1/apps/{app_id}/queues/{queue}/dead-letters/{message_id}/revive",
    "POST /admin/v1/apps/{app_id}/evals",
    "POST /admin/v1/apps/{app_id}/evals/{eval_id}/cancel",
    "POST /admin/v1/optimize-requests",
    "POST /admin/v1/optimize-requests/{request_id}/cancel",
    "POST /record",
}


def routes() -> list[tuple[str, str]]:
    """Every route that a token guards, as (method, path template)."""
    paths = build_admin(services()).openapi()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/admin/") or path in ("/record", "/metrics")
    ]


def called(path: str) -> str:
    """A path that the template matches."""
    return re.sub(r"{\w+}", "some-thing", path)


def test_the_table_decides_every_route() -> None:
    for method, path in routes():
        rows = [row for row in ROWS if row.method == method and row.pattern.match(called(path))]
        own = [row for row in rows if re.sub(r":path}", "}", row.template) == path]
        is_reading = method == "GET" and rows
        assert own or is_reading, f"{method} {path} needs a row in uhlp/web/admin/role_table.py"


def test_no_row_stands_for_a_route_that_does_not_exist() -> None:
    known = {f"{method} {path}" for method, path in routes()}
    stray = [row.template for row in ROWS if f"{row.method} {row.template.replace(':path}', '}')}" not in known]
    assert stray == ["/admin/{anything:path}", "/admin/v1/candidates/{candidate_id}/clear-quarantine", "/mcp"]


def test_viewers_read_everything_operators_act_and_the_rest_is_for_owners() -> None:
    needed = {f"{method} {path}": needed_role(method, called(path)) for method, path in routes()}
    assert {route for route, role in needed.items() if role is Role.OPERATOR} == OPERATORS_MAY
    assert {route for route, role in needed.items() if role is Role.VIEWER and not route.startswith("GET ")} == {
        "POST /admin/v1/ledger/verify"
    }
    assert all(role is Role.VIEWER for route, role in needed.items() if route.startswith("GET "))
    assert {"POST /admin/v1/tokens", "DELETE /admin/v1/apps/{app_id}"} < {
        route for route, role in needed.items() if role is Role.OWNER
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/admin", "/admin/v1/new-thing", "/admin/v1/candidates/a/b/c", "/elsewhere"])
def test_what_is_not_in_the_table_is_for_owners(method: str, path: str) -> None:
    assert needed_role(method, path) is Role.OWNER


def test_of_several_rows_the_strictest_decides() -> None:
    assert needed_role("POST", "/admin/v1/candidates/approve/approve") is Role.OPERATOR
    assert needed_role("POST", "/admin/v1/candidates/c-1/clear-quarantine") is Role.OWNER
    assert needed_role("PUT", "/admin/v1/apps/shop/definition/prompts/a/b.yaml") is Role.OWNER
    assert needed_role("HEAD", "/admin/v1/apps") is Role.VIEWER


def test_a_refusal_says_which_role_is_needed() -> None:
    with pytest.raises(PermissionDenied) as refused:
        check_role(Administrator("1", "ann", Role.VIEWER), "POST", "/admin/v1/evolution/pause")
    assert refused.value.message == "This needs the role operator; ann is viewer."
    assert refused.value.details == {"needed": "operator", "role": "viewer"}


async def test_every_route_refuses_who_may_not_before_it_looks_at_the_body(client_of, stored, bearer_of) -> None:
    client: httpx.AsyncClient = await client_of(stored)
    headers = {role: await bearer_of(role) for role in Role}
    for method, path in routes():
        if path in ("/record", "/metrics"):
            continue
        needed = needed_role(method, called(path))
        for role in Role:
            if role.covers(needed):
                continue
            answer = await client.request(method, called(path), headers=headers[role], content=b"{not json")
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "PERMISSION_DENIED"), (method, path)
            assert answer.json()["error"]["details"] == {"needed": needed, "role": role}


async def test_a_viewer_reads_and_an_operator_acts_under_the_name_of_the_token(client_of, stored, bearer_of) -> None:
    client: httpx.AsyncClient = await client_of(stored)
    viewer, operator = await bearer_of("viewer"), await bearer_of("operator", "ann")
    owner = await bearer_of("owner", "olga")
    assert (await client.get("/admin/v1/candidates", headers=viewer)).status_code == 200
    assert (await client.post("/admin/v1/ledger/verify", headers=viewer)).status_code == 200
    approve = "/admin/v1/candidates/cand-1/approve"
    assert (await client.post(approve, json={"reason": "good"}, headers=viewer)).status_code == 403
    assert (await client.post(approve, json={"reason": "good"}, headers=operator)).status_code == 200
    assert stored.evolution.asked == [("approve", "cand-1", "ann", "good")]
    app = {"definition": {"appId": "shop"}}
    assert (await client.post("/admin/v1/apps", json=app, headers=operator)).status_code == 403
    assert (await client.post("/admin/v1/apps", json=app, headers=owner)).status_code == 201
    history = (await client.get("/admin/v1/apps/shop/history", headers=viewer)).json()
    assert json.dumps(history).count("olga <") == 1


async def test_an_owner_makes_a_token_that_is_shown_once_and_deletes_it(client_of, stored, admin) -> None:
    client: httpx.AsyncClient = await client_of(stored)
    body = {"name": "ann", "role": "operator", "reason": "on call"}
    made = await client.post("/admin/v1/tokens", json=body, headers=admin)
    assert made.status_code == 201, made.text
    raw, token_id = made.json()["token"], made.json()["tokenId"]
    assert raw.startswith(f"uhlp_admin_{token_id}_")
    hers = {"Authorization": f"Bearer {raw}"}
    listed = await client.get("/admin/v1/tokens", headers=hers)
    assert [(one["name"], one["role"], one["createdBy"]) for one in listed.json()["tokens"]] == [
        ("admin", "owner", None),
        ("ann", "operator", "admin"),
    ]
    assert raw.rpartition("_")[2] not in listed.text
    assert (await client.post("/admin/v1/tokens", json=body, headers=admin)).status_code == 409
    assert (await client.post("/admin/v1/tokens", json={**body, "role": "root"}, headers=admin)).status_code == 422
    assert (await client.delete("/admin/v1/tokens/admin", headers=admin)).status_code == 409
    assert (await client.delete("/admin/v1/tokens/nobody", headers=admin)).json()["error"]["code"] == "TOKEN_NOT_FOUND"
    assert (await client.delete(f"/admin/v1/tokens/{token_id}", headers=admin)).json()["deleted"] is True
    assert (await client.get("/admin/v1/tokens", headers=hers)).status_code == 401


async def test_a_deleted_token_is_no_better_than_a_guess(client_of, stored, bearer_of, admin) -> None:
    client: httpx.AsyncClient = await client_of(stored)
    hers = await bearer_of("operator", "ann")
    await stored.tokens.delete(stored.tokens.listed()[1].holder.token_id, actor="admin", reason="she left")
    answers = [await client.get("/admin/v1/apps", headers=hers) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert answers[0].json()["error"]["message"] == "The admin token is not valid."
    assert (await client.get("/admin/v1/apps", headers=admin)).status_code == 200


async def test_in_production_a_viewer_records_nothing(client_of, tmp_path, stored, bearer_of) -> None:
    production = services(tokens=stored.tokens, clock=stored.clock, deployment_mode="production")
    client: httpx.AsyncClient = await client_of(production)
    record = {"metric_name": "orders_total", "metric_type": "counter", "value": 1}
    for role, status in (("viewer", 403), ("operator", 202), ("owner", 202)):
        answer = await client.post("/record", json=record, headers=await bearer_of(role))
        assert answer.status_code == status, answer.text


async def test_an_owner_may_delete_their_own_token(client_of, stored, bearer_of) -> None:
    client: httpx.AsyncClient = await client_of(stored)
    hers = await bearer_of("owner", "olga")
    token_id = stored.tokens.listed()[1].holder.token_id
    answer = await client.delete(f"/admin/v1/tokens/{token_id}", headers=hers, params={"reason": "I leave"})
    assert (answer.status_code, answer.json()["name"]) == (200, "olga")
    assert (await client.get("/admin/v1/apps", headers=hers)).status_code == 401


async def test_who_names_another_author_stands_beside_them_in_the_commit(client_of, stored, bearer_of, admin) -> None:
    client: httpx.AsyncClient = await client_of(stored)
    await client.post("/admin/v1/apps", json={"definition": {"appId": "shop"}}, headers=admin)
    body = {"content": "hello", "commitMessage": "Greet", "author": "governor"}
    path = "/admin/v1/apps/shop/definition/files/note.txt"
    written = await client.put(path, json=body, headers=await bearer_of("owner", "olga"))
    assert written.status_code == 200, written.text
    newest = (await client.get("/admin/v1/apps/shop/history", headers=admin)).json()["commits"][0]
    assert (newest["author"].split(" <")[0], newest["trailers"]["Actor"]) == ("governor", "olga")
