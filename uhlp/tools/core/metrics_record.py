"""core.metrics.record: an application's own metrics (`app.custom.*`)."""

from collections.abc import Mapping
from typing import Any, Protocol

from uhlp.errors import PermissionDenied
from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject, Tool, arguments

METRICS_RECORD = "core.metrics.record"

_ON_TRIAL = frozenset({"shadow", "replay"})
"""Purposes of executions that answer nobody: what they record is accepted and dropped, it has not happened."""

INPUT_SCHEMA = arguments(
    ["metric_name", "metric_type", "value"],
    metric_name={"type": "string", "pattern": "^app\\.custom\\.[a-zA-Z0-9_:.]+$", "maxLength": 200},
    metric_type={"enum": ["counter", "gauge", "histogram", "summary"]},
    value={"type": "number"},
    labels={"type": "object", "additionalProperties": {"type": "string"}},
    buckets={"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 100},
    unit={"type": ["string", "null"]},
    timestamp={"type": ["string", "null"]},
    help={"type": ["string", "null"]},
)
OUTPUT_SCHEMA = arguments(["accepted"], accepted={"type": "integer"})


class MetricRecorder(Protocol):
    """What this tool needs of the MetricCollector."""

    async def record_metric(self, metric_data: Mapping[str, Any]) -> None: ...


class MetricsRecord:
    """Records in the caller's name: `appId` and `componentId` are the context's."""

    def __init__(self, *, metrics: MetricRecorder) -> None:
        self._metrics = metrics

    def tool(self) -> Tool:
        return Tool(
            name=METRICS_RECORD,
            description="Record one measurement of the application's own (app.custom.*).",
            input_schema=INPUT_SCHEMA,
            output_schema=OUTPUT_SCHEMA,
            run=self.run,
            annotations={"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False},
        )

    async def run(self, given: JsonObject, context: ToolContext) -> JsonObject:
        labels = dict(given.get("labels") or {})
        for label, own in (("appId", context.app_id), ("componentId", context.component_id)):
            if labels.setdefault(label, own) != own:
                raise PermissionDenied(f"{METRICS_RECORD}: the label {label} is the caller's own, '{own}'.")
        if context.purpose not in _ON_TRIAL:
            await self._metrics.record_metric({**given, "labels": labels})
        return {"accepted": 1}
