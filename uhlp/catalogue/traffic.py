"""What is counted of requests, of what answers them, and of tools."""

from uhlp.catalogue.metric import CounterMetric, GaugeMetric, HistogramMetric

_COMPONENT = ("appId", "componentId")
_BY_HANDLER = (*_COMPONENT, "handlerType")

REQUESTS = CounterMetric(
    name="uhlp_requests_total",
    meaning="Requests that reached a component, by what was asked last (LLM, JIT, WORKFLOW) and outcome: ok, failed.",
    labels=(*_BY_HANDLER, "outcome"),
    row="traffic",
)
REQUEST_SECONDS = HistogramMetric(
    name="uhlp_request_duration_seconds",
    meaning="Time from the choice of an implementation to the answer.",
    labels=_BY_HANDLER,
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    row="traffic",
)
IN_FLIGHT = GaugeMetric(
    name="uhlp_requests_in_flight",
    meaning="Requests that are being answered now.",
    labels=_COMPONENT,
    row="traffic",
)
WAITING = GaugeMetric(
    name="uhlp_requests_waiting",
    meaning="Requests that wait for their application's turn.",
    labels=("appId",),
    row="traffic",
)
REFUSALS = CounterMetric(
    name="uhlp_http_refusals_total",
    meaning="Application requests answered with an error, by its code.",
    labels=("code",),
    row="traffic",
)
COMPONENTS = GaugeMetric(
    name="uhlp_components",
    meaning="Components in service, by how their definition runs them: LLM, JIT, WORKFLOW.",
    labels=("appId", "handlerType"),
    row="handlers",
)
DEOPTIMIZATIONS = CounterMetric(
    name="uhlp_deoptimizations_total",
    meaning="Requests the model answered although a handler was in service.",
    labels=(*_COMPONENT, "reason"),
    row="handlers",
)
EXECUTIONS = CounterMetric(
    name="uhlp_executions_total",
    meaning="Executions by how they ended; outcome is ok, or the reason why there is no answer.",
    labels=(*_BY_HANDLER, "purpose", "outcome"),
    row="handlers",
)
TOOL_CALLS = CounterMetric(
    name="uhlp_tool_calls_total",
    meaning="Tool calls by outcome.",
    labels=(*_COMPONENT, "tool", "outcome"),
    row="handlers",
)
TOOL_SECONDS = HistogramMetric(
    name="uhlp_tool_seconds",
    meaning="Time of tool calls.",
    labels=("tool",),
    buckets=(0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0),
    row="handlers",
)
MCP_CALLS = CounterMetric(
    name="uhlp_mcp_calls_total",
    meaning="Calls of applications to their MCP servers, by outcome: ok, or the error's code.",
    labels=("appId", "server", "outcome"),
    row="handlers",
)
MCP_SECONDS = HistogramMetric(
    name="uhlp_mcp_call_seconds",
    meaning="Time of calls to MCP servers, with the connection where one had to be made.",
    labels=("appId", "server"),
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0),
    row="handlers",
)
MCP_SERVER_UP = GaugeMetric(
    name="uhlp_mcp_server_up",
    meaning="MCP servers in use: 1 connected, 0 unreachable.",
    labels=("appId", "server"),
    row="handlers",
)
