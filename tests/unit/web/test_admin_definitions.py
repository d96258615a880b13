"""Applications over REST, on real stores: what is written is committed, served and can be taken back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from uhlp.web.services import Services
from web.stores import stored_services

REGISTRY = """\
components:
  # sorts tickets
  - componentId: triage
    taskDetails: {prompt_template: triage}
    routeMatcher: {pathPattern: /tickets, methods: [POST]}
    inputSchema: {type: object, properties: {text: {type: string}}, required: [text]}
"""
PROMPT = """\
template: "Which team? {{ text }}"
outputSchema: {type: object, properties: {team: {type: string}}, required: [team]}
"""
DESK: dict[str, Any] = {
    "definition": {"appId": "desk", "public": True, "configuration": {"limits": {"rows": 10}}},
    "files": {"component_registry.yaml": REGISTRY, "prompts/triage.yaml": PROMPT},
}
APPS = "/admin/v1/apps"


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Services]:
    async with stored_services(tmp_path) as services:
        yield services


@pytest.fixture
async def desk(stored: Services, client_of, admin) -> httpx.AsyncClient:
    """A client of a server where the application `desk` is registered."""
    client: httpx.AsyncClient = await client_of(stored)
    client.headers.update(admin)
    registered = await client.post(APPS, json=DESK)
    assert registered.status_code == 201, registered.text
    assert registered.json().keys() == {"appId", "resultingRevision"}
    return client


async def test_a_registered_application_serves_at_once(desk: httpx.AsyncClient) -> None:
    assert (await desk.post("/apps/desk/tickets", json={"text": "refund"})).json() == {"text": "refund"}
    listed = (await desk.get(APPS)).json()["applications"]
    assert [(one["appId"], one["status"], one["components"]) for one in listed] == [("desk", "ACTIVE", 1)]
    found = (await desk.get(f"{APPS}/desk/route", params={"method": "post", "path": "/tickets"})).json()
    assert (found["found"], found["componentId"], found["extractedPathParameters"]) == (True, "triage", {})
    assert found["definition"]["routeMatcher"]["pathPattern"] == "/tickets"
    assert (await desk.get(APPS)).json()["appIds"] == ["desk"]
    needed = (await desk.get(f"{APPS}/desk/sandbox-requirements")).json()
    assert (needed["appId"], [pool["poolName"] for pool in needed["requirements"]["pools"]]) == ("desk", ["default"])
    component = (await desk.get(f"{APPS}/desk/components/triage")).json()
    assert (component["implementation"], component["handlerType"]) == ("prompt@stable", "LLM")


async def test_registering_twice_is_a_conflict_and_an_invalid_definition_names_its_problems(desk) -> None:
    again = await desk.post(APPS, json=DESK)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "APP_EXISTS")
    broken = {"definition": {"appId": "other"}, "files": {"component_registry.yaml": "components: 7"}}
    refused = await desk.post(APPS, json=broken)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "DEFINITION_INVALID")
    assert refused.json()["error"]["details"]["problems"][0]["file"] == "component_registry.yaml"


async def test_several_files_are_one_commit_and_an_outdated_base_is_a_conflict(desk: httpx.AsyncClient) -> None:
    before = (await desk.get(f"{APPS}/desk")).json()["revision"]
    change = {
        "files": {"prompts/triage.yaml": PROMPT.replace("Which", "What"), "evals/triage.jsonl": ""},
        "commitMessage": "Ask better",
        "expectedBaseRevision": before,
    }
    answer = await desk.put(f"{APPS}/desk/definition", json=change)
    assert answer.status_code == 200, answer.text
    commits = (await desk.get(f"{APPS}/desk/history")).json()["commits"]
    assert commits[0]["message"].strip() == "Ask better"
    assert len(commits) == 2
    outdated = await desk.put(f"{APPS}/desk/definition", json=change)
    assert (outdated.status_code, outdated.json()["error"]["code"]) == (409, "REVISION_CONFLICT")
    shown = (
        await desk.get(f"{APPS}/desk/diff", params={"from": before, "to": answer.json()["resultingRevision"]})
    ).json()
    assert "+template: " in shown["diff"]


async def test_one_file_can_be_read_written_patched_deleted_and_reverted(desk: httpx.AsyncClient) -> None:
    url = f"{APPS}/desk/definition/files/notes.txt"
    written = await desk.put(url, json={"content": "one\n", "commitMessage": "Write"})
    base = written.json()["resultingRevision"]
    diff = {
        "filePath": "files/notes.txt",
        "diffContent": "--- a/files/notes.txt\n+++ b/files/notes.txt\n@@ -1 +1 @@\n-one\n+two\n",
        "expectedBaseRevision": base,
        "commitMessage": "Patch",
    }
    patched = await desk.post(f"{APPS}/desk/definition-diffs", json=diff)
    assert patched.status_code == 200, patched.text
    assert (await desk.get(url)).json()["content"] == "two\n"
    assert (await desk.get(url, params={"revision": base})).json()["content"] == "one\n"
    reverted = await desk.post(f"{APPS}/desk/revert", json={"revision": patched.json()["resultingRevision"]})
    assert reverted.status_code == 200, reverted.text
    assert (await desk.get(url)).json()["content"] == "one\n"
    listed = (await desk.get(f"{APPS}/desk/definition", params={"directory": "files"})).json()["entries"]
    assert [one["path"] for one in listed] == ["files/notes.txt"]
    assert (await desk.request("DELETE", url)).status_code == 200
    assert (await desk.get(url)).json()["error"]["code"] == "DEFINITION_FILE_NOT_FOUND"


async def test_a_file_that_breaks_the_application_is_not_committed(desk: httpx.AsyncClient) -> None:
    url = f"{APPS}/desk/definition/component_registry.yaml"
    refused = await desk.put(url, json={"content": "components: [{}]", "commitMessage": "Break"})
    assert refused.status_code == 422
    assert len((await desk.get(f"{APPS}/desk/history")).json()["commits"]) == 1


async def test_paths_outside_the_repository_are_refused(desk: httpx.AsyncClient) -> None:
    for path in ("..%2F..%2Fetc%2Fpasswd", "files/..%2F..%2Fapp.yaml", ".git/config", "%00"):
        answer = await desk.put(f"{APPS}/desk/definition/{path}", json={"content": "", "commitMessage": "x"})
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert 400 <= (await desk.get(f"{APPS}/desk/definition/{path}")).status_code < 500


async def test_a_masked_update_changes_only_what_the_mask_names(desk: httpx.AsyncClient) -> None:
    change = {"updateMask": ["displayName"], "definition": {"displayName": "Desk", "public": False}}
    assert (await desk.patch(f"{APPS}/desk", json=change)).status_code == 200
    definition = (await desk.get(f"{APPS}/desk")).json()["definition"]
    assert (definition["displayName"], definition["public"]) == ("Desk", True)
    value = (await desk.get(f"{APPS}/desk/config/limits.rows")).json()
    assert value == {"key": "limits.rows", "found": True, "value": 10, "origin": "application"}
    whole = (await desk.get(f"{APPS}/desk/config")).json()
    assert whole == {"values": {"limits.rows": {"value": 10, "origin": "application"}}}


async def test_a_key_is_shown_once_and_its_hash_never(desk: httpx.AsyncClient) -> None:
    await desk.patch(f"{APPS}/desk", json={"updateMask": ["public"], "definition": {"public": False}})
    made = await desk.post(f"{APPS}/desk/api-keys", json={"description": "shop"})
    assert made.status_code == 201
    key, key_id = made.json()["apiKey"], made.json()["keyId"]
    invoke = {"url": "/apps/desk/tickets", "json": {"text": "a"}, "headers": {"Authorization": f"Bearer {key}"}}
    assert (await desk.post(**invoke)).status_code == 200
    shown = await desk.get(f"{APPS}/desk")
    assert key_id in shown.text
    assert "keyHash" not in shown.text
    assert (await desk.post("/admin/v1/api-keys/validate", json={"apiKey": key})).json()["appId"] == "desk"
    assert (await desk.delete(f"{APPS}/desk/api-keys/{key_id}")).status_code == 200
    assert (await desk.post(**invoke)).status_code == 401
    assert (await desk.post("/admin/v1/api-keys/validate", json={"apiKey": key})).json() == {"isValid": False}


async def test_who_may_not_write_a_definition_reads_it_without_the_hashes_of_keys(
    desk: httpx.AsyncClient, bearer_of
) -> None:
    url = f"{APPS}/desk/definition/app.yaml"
    before = (await desk.get(url)).json()["revision"]
    made = (await desk.post(f"{APPS}/desk/api-keys", json={"description": "shop"})).json()
    whole = (await desk.get(url)).json()
    changes = {"from": before, "to": whole["revision"]}
    assert "$argon2id$v=19$" in whole["content"]
    assert "$argon2id$v=19$" in (await desk.get(f"{APPS}/desk/diff", params=changes)).json()["diff"]
    for role in ("viewer", "operator"):
        headers = await bearer_of(role)
        read = (await desk.get(url, params={"revision": whole["revision"]}, headers=headers)).json()
        diff = (await desk.get(f"{APPS}/desk/diff", params=changes, headers=headers)).json()["diff"]
        for text in (read["content"], diff):
            assert (made["keyId"] in text, "keyHash: $argon2id$hidden\n" in text, "v=19" in text) == (True, True, False)


async def test_a_definition_whose_hashes_are_hidden_is_refused_and_the_keys_stay(
    desk: httpx.AsyncClient, bearer_of
) -> None:
    url = f"{APPS}/desk/definition/app.yaml"
    made = (await desk.post(f"{APPS}/desk/api-keys", json={"description": "shop"})).json()
    hidden = (await desk.get(url, headers=await bearer_of("viewer"))).json()["content"]
    refused = await desk.put(url, json={"content": hidden, "commitMessage": "Copy"})
    assert refused.status_code == 422
    (problem,) = refused.json()["error"]["details"]["problems"]
    assert problem["path"] == "/securityConfig/apiKeys/0/keyHash"
    assert problem["message"].startswith("keyHash is hidden in this text, which only an owner reads whole")
    known = await desk.post("/admin/v1/api-keys/validate", json={"apiKey": made["apiKey"]})
    assert known.json()["appId"] == "desk"


async def test_recorded_calls_become_samples_and_those_that_do_not_fit_are_named(desk: httpx.AsyncClient) -> None:
    calls = [
        {"input": {"text": "refund"}, "output": {"team": "billing"}, "gold": {"team": "billing"}},
        {"input": {}, "output": {"team": "billing"}},
        {"input": {"text": "late"}, "output": {"team": 7}},
        {"input": {"text": "late"}, "output": {"team": "billing"}, "gold": {"team": "billing", "of": 2**70}},
    ]
    answer = (await desk.post(f"{APPS}/desk/samples", json={"componentId": "triage", "samples": calls})).json()
    assert (answer["imported"], answer["refused"]) == (1, 3)
    assert [(one["index"], one["path"]) for one in answer["problems"]] == [
        (1, "/input"), (2, "/output/team"), (3, "/gold"),
    ]  # fmt: skip
    kept = (await desk.get(f"{APPS}/desk/samples", params={"componentId": "triage"})).json()
    assert (kept["counts"]["total"], kept["samples"][0]["input"]) == (1, {"text": "refund"})
    nothing = await desk.post(f"{APPS}/desk/samples", json={"componentId": "triage", "samples": calls[1:]})
    assert nothing.status_code == 422
    problems = nothing.json()["error"]["details"]["problems"]
    assert [one["path"] for one in problems] == ["/samples/0/input", "/samples/1/output/team", "/samples/2/gold"]


async def test_recorded_calls_are_kept_as_the_components_policy_masks_them(desk: httpx.AsyncClient) -> None:
    told = {"updateMask": ["configuration"], "definition": {"configuration": {"redact": ["text", "/team"]}}}
    assert (await desk.patch(f"{APPS}/desk", json=told)).status_code == 200
    call = {"input": {"text": "I am Ann of 1 Elm Street"}, "output": {"team": "Ann"}}
    await desk.post(f"{APPS}/desk/samples", json={"componentId": "triage", "samples": [call]})
    (kept,) = (await desk.get(f"{APPS}/desk/samples", params={"componentId": "triage"})).json()["samples"]
    assert (kept["input"], kept["output"]) == ({"text": "[redacted]"}, {"team": "[redacted]"})


@pytest.mark.parametrize(
    "author", ["Ann <a\nparent 1>", "Ann <a<b>>", "a\0b", "x" * 201, "uhlp_46bc579185c51a68_" + "3c" * 24]
)
async def test_an_author_that_is_no_name_and_address_is_refused(desk: httpx.AsyncClient, author: str) -> None:
    url = f"{APPS}/desk/definition/files/note.txt"
    refused = await desk.put(url, json={"content": "one", "commitMessage": "m", "author": author})
    assert refused.status_code == 422
    (problem,) = refused.json()["error"]["details"]["problems"]
    assert problem["path"] == "/author"
    assert "match pattern" not in problem["message"]
    for good in ("Zoë Example <zoe@example.org>", "ci/build 7"):
        kept = await desk.put(url, json={"content": good, "commitMessage": "m", "author": good})
        assert kept.status_code == 200
        newest = (await desk.get(f"{APPS}/desk/history")).json()["commits"][0]
        assert newest["author"].startswith(good)


async def test_a_key_in_a_commit_message_is_refused_and_not_repeated(desk: httpx.AsyncClient) -> None:
    key = "uhlp_46bc579185c51a68_" + "3c41010d24ae0316" * 3
    url = f"{APPS}/desk/definition/files/note.txt"
    refused = await desk.put(url, json={"content": "one", "commitMessage": f"For {key}"})
    assert (refused.status_code, key in refused.text) == (422, False)
    assert "looks like a UHLP application key" in refused.text
    assert (await desk.get(url)).status_code == 404


async def test_a_removed_application_stops_and_comes_back_only_with_its_state(desk: httpx.AsyncClient) -> None:
    assert (await desk.delete(f"{APPS}/desk")).json() == {"appId": "desk", "stateDeleted": False}
    assert (await desk.post("/apps/desk/tickets", json={"text": "a"})).status_code == 404
    assert (await desk.get(f"{APPS}/desk/status")).json()["status"] == "INACTIVE"
    assert (await desk.delete(f"{APPS}/desk", params={"deleteState": True})).status_code == 200
    assert (await desk.get(f"{APPS}/desk/status")).status_code == 404
    assert (await desk.post(APPS, json=DESK)).status_code == 201


async def test_runtime_values_are_set_counted_and_removed(desk: httpx.AsyncClient) -> None:
    url = f"{APPS}/desk/runtime/visits"
    assert (await desk.get(url)).json() == {"key": "visits", "found": False, "value": None}
    assert (await desk.put(url, json={"value": 2, "ttlSeconds": 60})).status_code == 200
    assert (await desk.post(f"{url}/increment", json={"by": 3})).json()["value"] == 5
    assert (await desk.put(url, json={"value": {"a": [1]}})).status_code == 200
    assert (await desk.post(f"{url}/increment", json={})).status_code in (409, 422)
    await desk.delete(url)
    assert not (await desk.get(url)).json()["found"]
    assert (await desk.get(f"{APPS}/nobody/runtime/visits")).status_code == 404


async def test_made_up_revisions_and_queries_are_refused_not_failed(desk: httpx.AsyncClient) -> None:
    for revision in ("zzz", "-1", "HEAD~1", "0" * 40, "main", "refs/heads/main", "a\x00b", "\ud7ff", "../x", ""):
        calls = [
            await desk.get(f"{APPS}/desk/definition", params={"revision": revision}),
            await desk.get(f"{APPS}/desk/definition/app.yaml", params={"revision": revision}),
            await desk.get(f"{APPS}/desk/diff", params={"from": revision, "to": revision}),
            await desk.get(f"{APPS}/desk/history", params={"path": revision}),
            await desk.get(f"{APPS}/desk/definition", params={"directory": revision}),
            await desk.post(f"{APPS}/desk/revert", json={"revision": revision}),
            await desk.put(
                f"{APPS}/desk/definition", json={"files": {}, "commitMessage": "x", "expectedBaseRevision": revision}
            ),
            await desk.get(f"{APPS}/desk/route", params={"path": revision, "method": revision}),
            await desk.get(f"{APPS}/desk/config/{quote(revision, safe='') or 'x'}"),
            await desk.get(f"{APPS}/{quote(revision, safe='') or 'x'}/status"),
        ]
        assert [one.status_code for one in calls if one.status_code >= 500] == [], revision
    for query in ("limit=0", "limit=x", "limit=1e9"):
        assert (await desk.get(f"{APPS}/desk/history?{query}")).status_code == 422


async def test_runtime_values_are_compared_listed_and_appended(desk: httpx.AsyncClient) -> None:
    url = f"{APPS}/desk/runtime"
    swap = f"{url}/lock/compare-and-set"
    assert (await desk.post(swap, json={"value": "ann"})).json() == {"key": "lock", "wasSet": True}
    assert (await desk.post(swap, json={"value": "bob"})).json()["wasSet"] is False
    assert (await desk.post(swap, json={"expected": None, "value": "bob"})).json()["wasSet"] is False
    assert (await desk.post(swap, json={"expected": "ann", "value": None})).json()["wasSet"] is True
    for n in range(3):
        made = await desk.post(f"{url}/log/entries", json={"entry": {"n": n}, "most": 2})
        assert made.json() == {"key": "log", "number": n + 1}
    kept = (await desk.get(f"{url}/log/entries", params={"after": 2})).json()["entries"]
    assert kept == [{"number": 3, "value": {"n": 2}}]
    assert (await desk.get(url)).json() == {"keys": ["lock", "log"]}
    assert (await desk.get(url, params={"prefix": "lo", "after": "lock", "limit": 1})).json() == {"keys": ["log"]}
    assert (await desk.get(f"{url}/log")).status_code == 409
    assert (await desk.post(f"{url}/log/entries", json={"entry": 1, "most": 0})).status_code == 422
