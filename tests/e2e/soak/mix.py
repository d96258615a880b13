"""What callers do in a soak: mostly requests, and now and then everything else that the server can do."""

import itertools
from typing import Any

import httpx

from tests.chaos.storm import ANSWERS, BY_HANDLER, storm
from tests.e2e.applications import BILLING, PARCEL, SHIPPING, TICKET
from tests.e2e.soak.applications import DESK, SHOP
from tests.e2e.soak.lines import Lines
from tests.e2e.soak.load import Do, Step, right
from tests.e2e.soak.slow_work import SlowWork
from tests.otlp_requests import as_protobuf, point, request, total

KEYS = 100
_PROTOBUF = {"Content-Type": "application/x-protobuf"}
_MCP = {"Accept": "application/json, text/event-stream"}


class Mix:
    """The steps of callers that have the administrator's headers and a key of each application."""

    def __init__(self, *, admin: dict[str, str], desk_key: str, shop_key: str) -> None:
        self._admin = admin
        self._desk_key = {"X-API-Key": desk_key}
        self._slow = SlowWork(admin=admin, shop_key=shop_key)

    def steps(self) -> list[Step]:
        """One round, some 250 of them: a third asks what is promoted and rolled back meanwhile."""
        promoted = Step("promoted", Lines())
        often = [
            Step("handler", self._ask("sort", PARCEL, SHIPPING)),
            promoted,
            Step("model", self._ask("classify", TICKET, BILLING)),
            Step("record", self._record),
            promoted,
            Step("handler", self._ask("sort", PARCEL, SHIPPING)),
            Step("model instead of the handler", self._ask("sort", TICKET, BILLING)),
            promoted,
            Step("export", self._export),
            Step("bad input", self._bad_input),
            promoted,
            Step("runtime value", self._remember),
        ]
        sometimes = itertools.cycle(
            [
                Step("tool", self._count),
                Step("MCP", self._call_as_tool),
                Step("queue", self._enqueue),
                Step("workflow", self._order),
            ]
        )
        now_and_then = [
            Step("scrape", self._look("/metrics")),
            Step("usage", self._look(f"/admin/v1/apps/{DESK}/usage")),
            Step("window", self._look(f"/admin/v1/apps/{DESK}/metrics?windowS=3600")),
            Step("candidates", self._look("/admin/v1/candidates")),
            Step("sandboxes", self._look("/admin/v1/sandboxes")),
            Step("samples", self._look(f"/admin/v1/apps/{DESK}/samples?componentId=sort&limit=20")),
            Step("commit", self._commit),
            Step("workflow that waits", self._slow.approval),
            Step("evaluation of overrides", self._slow.evaluation),
            Step("application that comes and goes", self._come_and_go),
        ]
        round_: list[Step] = []
        for rare in now_and_then:
            round_ += [*often, next(sometimes), *often, next(sometimes), rare]
        return round_

    def _ask(self, component: str, body: Any, answer: Any) -> Do:
        def ask(http: httpx.Client, number: int) -> str:
            answered = http.post(f"/apps/{DESK}/{component}", json=body)
            right(answered, 200, answer)
            return answered.headers["X-UHLP-Handler"]

        return ask

    def _look(self, path: str) -> Do:
        def look(http: httpx.Client, number: int) -> str:
            right(http.get(path, headers=self._admin), 200)
            return ""

        return look

    def _bad_input(self, http: httpx.Client, number: int) -> str:
        right(http.post(f"/apps/{DESK}/sort", json={"text": 7}), 422)
        return ""

    def _record(self, http: httpx.Client, number: int) -> str:
        labels = {"appId": DESK, "shelf": str(number % KEYS)}
        one = {"metric_name": "app.custom.parcels", "metric_type": "histogram", "value": number % 7, "labels": labels}
        right(http.post("/record", json=[one] * 10), 202)
        return ""

    def _export(self, http: httpx.Client, number: int) -> str:
        of = {"appId": DESK, "n": number % KEYS}
        sent = request(*(total(f"soak.{at}", point(float(number), of=of)) for at in range(5)))
        right(http.post("/v1/metrics", content=as_protobuf(sent), headers=_PROTOBUF), 200)
        return ""

    def _remember(self, http: httpx.Client, number: int) -> str:
        path = f"/admin/v1/apps/{DESK}/runtime/key-{number % KEYS}"
        right(http.put(path, json={"value": {"number": number}, "ttlSeconds": 30}, headers=self._admin), 200)
        return ""

    def _commit(self, http: httpx.Client, number: int) -> str:
        change = {"content": f"{number}\n", "commitMessage": "Note the number"}
        path = f"/admin/v1/apps/{DESK}/definition/files/number.txt"
        right(http.put(path, json=change, headers=self._admin), 200)
        return ""

    def _count(self, http: httpx.Client, number: int) -> str:
        right(http.post(f"/apps/{DESK}/count", json={"shelf": f"shelf-{number % KEYS}"}), 200)
        return ""

    def _call_as_tool(self, http: httpx.Client, number: int) -> str:
        call = {"name": "sort", "arguments": PARCEL}
        message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call}
        answer = http.post(f"/apps/{DESK}/-/mcp", json=message, headers=_MCP)
        right(answer, 200)
        assert answer.json()["result"]["structuredContent"] == SHIPPING, answer.text
        return ""

    def _enqueue(self, http: httpx.Client, number: int) -> str:
        right(http.post(f"/apps/{DESK}/-/queues/tickets", json=PARCEL, headers=self._desk_key), 202)
        return ""

    def _order(self, http: httpx.Client, number: int) -> str:
        answer = http.post(f"/apps/{SHOP}/orders", json={"count": number, "note": "soon!"})
        right(answer, 201, {"usd": 4.0 * number, **BILLING})
        return ""

    def _come_and_go(self, http: httpx.Client, number: int) -> str:
        app_id = f"guest-{number}"
        right(http.post("/admin/v1/apps", json=storm(app_id), headers=self._admin), 201)
        right(http.post(f"/apps/{app_id}/sort", json=ANSWERS), 200, BY_HANDLER)
        right(http.delete(f"/admin/v1/apps/{app_id}?deleteState=true", headers=self._admin), 200)
        return ""
