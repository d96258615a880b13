"""A real Prometheus server scrapes UHLP, and its linter has nothing to say but of appId."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.applications import BILLING, PARCEL, SHIPPING, TICKET, desk
from tests.e2e.model import started_model
from tests.e2e.server import Server, need, wait_until
from tests.free_port import free_port

ODD = 'a "quoted"\\, zwölf\nlines'
CAMEL_CASE = "label names should be written in 'snake_case' not 'camelCase'"
"""Said of `appId` and `componentId`, which are named as on the wire: the one thing where the contract wins."""
TRACE = "0af7651916cd43dd8448eb211c80319c"
_CONFIGURATION = """
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
scrape_configs:
  - job_name: uhlp
    authorization: {credentials: "%s"}
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""


@dataclass
class Prometheus:
    """What its API says."""

    http: httpx.Client

    def ask(self, path: str, **query: str) -> Any:
        answer = self.http.get(f"/api/v1/{path}", params=query)
        return answer.json()["data"] if answer.is_success else None

    def value(self, query: str) -> float | None:
        """The value of the one series that `query` finds; None when there is none yet."""
        found = (self.ask("query", query=query) or {"result": []})["result"]
        return float(found[0]["value"][1]) if len(found) == 1 else None


@contextmanager
def prometheus(folder: Path, target: Server) -> Iterator[Prometheus]:
    """Scrapes `target` until the block is left."""
    need("prometheus")
    port = free_port()
    configuration = folder / "prometheus.yml"
    configuration.write_text(_CONFIGURATION % (target.admin["Authorization"].partition(" ")[2], target.port))
    command = [
        *("prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn"),
    ]
    with (
        (folder / "prometheus.log").open("wb") as log,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(lambda: is_ready(http), "Prometheus is ready", 20)
            yield Prometheus(http)
        finally:
            process.kill()
            process.wait()


def is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/-/ready").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with requests and records behind it, whose metrics need the token."""
    folder = tmp_path_factory.mktemp("scraped")
    with started_model() as model:
        environment = {**model.environment, "UHLP_METRICS__ACCESS": "token"}
        with Server(folder / "data", environment=environment) as server:
            server.administer("POST", "/apps", desk())
            model.says(BILLING)
            trace = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            assert server.http.post("/apps/desk/classify", json=TICKET, headers=trace).status_code == 200
            assert server.http.post("/apps/desk/sort", json=PARCEL).status_code == 200
            record(server)
            yield server


def record(server: Server) -> None:
    """One of every type, by a key of the application, and one refusal."""
    key = server.administer("POST", "/apps/desk/api-keys", {"permissions": ["invoke:*"], "description": "x"})["apiKey"]
    labels = {"queue.name": ODD}
    records = [
        {"metric_name": "app.custom.tickets", "metric_type": "counter", "value": 3, "labels": labels},
        {"metric_name": "app.custom.open_tickets", "metric_type": "gauge", "value": -2.5, "labels": labels},
        {"metric_name": "app.custom.wait_seconds", "metric_type": "histogram", "value": 0.3, "labels": labels,
         "buckets": [0.1, 0.5], "unit": "seconds"},
        {"metric_name": "app.custom.size_bytes", "metric_type": "summary", "value": 40, "labels": labels},
    ]  # fmt: skip
    assert server.http.post("/record", json=records, headers={"X-API-Key": key}).json() == {"accepted": 4}
    clash = {**records[0], "metric_type": "gauge"}
    assert server.http.post("/record", json=clash, headers={"X-API-Key": key}).status_code == 409


def test_prometheus_reads_what_was_recorded_and_served(busy: Server, tmp_path: Path) -> None:
    with prometheus(tmp_path, busy) as scraping:
        wait_until(lambda: scraping.value('app_custom_tickets_total{appId="desk"}') == 3, "the first scrape", 20)
        (target,) = scraping.ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        odd = f'{{appId="desk",queue_name={json.dumps(ODD, ensure_ascii=False)}}}'
        for query, value in (
            (f"app_custom_tickets_total{odd}", 3),
            (f"app_custom_open_tickets{odd}", -2.5),
            ('app_custom_wait_seconds_bucket{le="0.1"}', 0),
            ('app_custom_wait_seconds_bucket{le="0.5"}', 1),
            ('app_custom_wait_seconds_bucket{le="+Inf"}', 1),
            ("app_custom_wait_seconds_sum", 0.3),
            ("app_custom_size_bytes_sum", 40),
            ("app_custom_size_bytes_count", 1),
            ('sum(uhlp_requests_total{appId="desk",outcome="ok"})', 2),
            ('uhlp_metric_records_refused_total{code="METRIC_CONFLICT"}', 1),
            ("count(uhlp_build_info)", 1),
        ):
            assert scraping.value(query) == value, query
        types = {name: told[0]["type"] for name, told in scraping.ask("metadata").items()}
        assert (types["app_custom_tickets"], types["app_custom_wait_seconds"]) == ("counter", "histogram")
        assert (types["app_custom_size_bytes"], types["uhlp_build"]) == ("summary", "info")
        assert (
            scraping.ask("metadata", metric="app_custom_wait_seconds")["app_custom_wait_seconds"][0]["unit"]
            == "seconds"
        )
        traces = {
            exemplar["labels"]["trace_id"]
            for series in scraping.ask("query_exemplars", query="uhlp_request_duration_seconds_bucket",
                                       start="2020-01-01T00:00:00Z", end="2100-01-01T00:00:00Z")
            for exemplar in series["exemplars"]
        }  # fmt: skip
        assert TRACE in traces


def test_promtool_has_nothing_to_say_of_the_exposition_but_that_labels_are_named_as_on_the_wire(busy: Server) -> None:
    need("promtool")
    text = busy.http.get("/metrics", headers=busy.admin)
    assert "app_custom_tickets_total" in text.text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text.content, capture_output=True, check=False)
    assert checked.returncode in (0, 3)  # 3: it has said something; 1: it could not read
    said = (checked.stdout + checked.stderr).decode().splitlines()
    assert [line for line in said if not line.endswith(CAMEL_CASE)] == []


def test_metrics_behind_a_token_are_not_read_without_it(busy: Server) -> None:
    assert busy.http.get("/metrics").status_code == 401
    assert busy.http.get("/metrics", headers=busy.admin).status_code == 200


COUNTING_HANDLER = """\
from uhlp_runtime import ToolFailed, record_metric


def handle(inputs, context):
    seen = {"metric_name": "app.custom.seen", "metric_type": "counter", "value": 1}
    record_metric(seen)
    try:
        record_metric({**seen, "labels": {"appId": "desk", "componentId": "sort"}})
    except ToolFailed as refused:
        if refused.code == "PERMISSION_DENIED":
            return {"queue": "shipping"}
"""


def test_a_handler_records_for_its_own_application_alone(busy: Server) -> None:
    body = desk("counting")
    body["files"] = {name: COUNTING_HANDLER if name.endswith(".py") else text for name, text in body["files"].items()}
    busy.administer("POST", "/apps", body)
    answer = busy.http.post("/apps/counting/sort", json=PARCEL)
    assert (answer.json(), answer.headers["x-uhlp-handler"]) == (SHIPPING, "jit")
    text = busy.http.get("/metrics", headers=busy.admin).text
    assert 'app_custom_seen_total{appId="counting",componentId="sort"} 1.0' in text
    assert 'app_custom_seen_total{appId="desk"' not in text


def test_a_deregistered_application_takes_its_series_along(busy: Server) -> None:
    busy.administer("POST", "/apps", desk("short"))
    assert busy.http.post("/apps/short/sort", json=PARCEL).status_code == 200
    lived = {"metric_name": "app.custom.lived", "metric_type": "gauge", "value": 1, "labels": {"appId": "short"}}
    assert busy.http.post("/record", json=lived, headers=busy.admin).status_code == 202

    def shown() -> str:
        return busy.http.get("/metrics", headers=busy.admin).text

    assert 'app_custom_lived{appId="short"} 1.0' in shown()
    assert 'uhlp_requests_total{appId="short"' in shown()
    busy.administer("DELETE", "/apps/short")
    wait_until(lambda: 'app_custom_lived{appId="short"}' not in shown(), "the series are removed")
    assert 'uhlp_requests_total{appId="short"' not in shown()
