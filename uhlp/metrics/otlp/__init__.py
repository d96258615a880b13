"""OTLP metrics (OpenTelemetry protocol 1.x over HTTP): bytes to points, points to series. Home of opentelemetry-proto.

What becomes of a metric:

| OTLP | here |
|---|---|
| gauge | gauge, set |
| sum, monotonic | counter; cumulative sets it, delta adds |
| sum, not monotonic | gauge; cumulative sets it, delta adds |
| histogram | histogram with its bounds; cumulative sets it, delta adds; without buckets a summary |
| exponential histogram | histogram whose bounds are powers of two, from 2^-10 to 2^30 |
| summary | summary with its quantiles, set |

Labels are, each over those before it: attributes of the resource (without `telemetry.sdk.*`), `otel_scope_name` and
`otel_scope_version`, attributes of the scope, attributes of the point. Characters that Prometheus lacks become
underscores; labels that are then one hold their values with `;` between. The points of a metric may have different
attributes: who lacks one has it empty, which is the same to Prometheus; one that is new to a metric which is there
already is refused. Timestamps and exemplars are not kept. The limits are those of all recorded metrics
(`metrics.config`).
"""

from uhlp.metrics.otlp.intake import OtlpIntake
from uhlp.metrics.otlp.wire import Encoding, error_body, read_request, success_body

__all__ = ["Encoding", "OtlpIntake", "error_body", "read_request", "success_body"]
