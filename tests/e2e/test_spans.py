"""A server that sends spans: one request's hang together from its caller to its model, and hold nothing it said."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.applications import BILLING, PARCEL, TICKET, desk
from tests.e2e.model import Model
from tests.e2e.server import CHECKOUT, Server
from tests.otlp_receiver import facts, otlp_receiver

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_requests_spans_lead_from_its_caller_to_its_model(tmp_path: Path, model: Model) -> None:
    model.says(BILLING)
    with otlp_receiver() as receiver:
        environment = {**model.environment, "UHLP_TRACING__OTLP_ENDPOINT": receiver.url}
        with Server(tmp_path / "data", environment=environment) as server:
            server.administer("POST", "/apps", desk())
            caller = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
            assert server.http.post("/apps/desk/sort", json=TICKET, headers=caller).status_code == 200
            untraced = server.http.post("/apps/desk/sort", json=PARCEL)
        spans = receiver.spans
    of_caller = [span for span in spans if span.trace_id.hex() == TRACE]
    assert sorted(span.name for span in of_caller) == ["execution", "execution", "model", "request", "tool"]
    by_id = {span.span_id: span for span in of_caller}
    (asked,) = model.seen
    span, names = by_id[bytes.fromhex(asked.headers["traceparent"].split("-")[2])], []
    while span is not None:
        names.append(span.name)
        parent = span.parent_span_id
        span = by_id.get(parent)
    assert names == ["model", "tool", "execution", "request"]
    assert parent.hex() == SPAN
    (request,) = [span for span in of_caller if span.name == "request"]
    assert facts(request) == {
        "uhlp.app_id": "desk",
        "uhlp.component_id": "sort",
        "uhlp.source": "http",
        "uhlp.handler": "llm",
        "uhlp.implementation": "prompt@stable",
        "uhlp.deoptimized": "guard",
    }
    (tool,) = [span for span in of_caller if span.name == "tool"]
    assert facts(tool)["gen_ai.tool.name"] == "core.llm.generate"
    (chat,) = [span for span in of_caller if span.name == "model"]
    assert facts(chat)["gen_ai.usage.input_tokens"] == 11
    own = [span for span in spans if span.trace_id.hex() == untraced.headers["X-Trace-Id"]]
    assert sorted(span.name for span in own) == ["execution", "request"]
    said = str(spans)
    for secret in (TICKET["text"], PARCEL["text"], "billing", "shipping", "sk-scripted", "no parcel"):
        assert secret not in said


def test_without_an_endpoint_nothing_that_sends_spans_is_imported() -> None:
    code = (
        "import sys, uhlp.main, uhlp.wiring.server, uhlp.web.edge; "
        "sys.exit(any(name.startswith(('uhlp.tracing.tracer', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=False).returncode == 0
