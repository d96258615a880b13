"""The tracer, where the settings ask for one."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from uhlp.errors import ValidationFailed
from uhlp.secret_references import SecretReader, resolve
from uhlp.tracing.config import TracingSettings
from uhlp.version import own_version

if TYPE_CHECKING:
    from uhlp.tracing.tracer import Tracer


def make_tracer(settings: TracingSettings, read_secret: SecretReader) -> "Tracer | None":
    """None where no endpoint is set. Raises ValidationFailed when the extra is missing, or a secret. Imports for half a
    second: call it in a thread."""
    if settings.otlp_endpoint is None:
        return None
    try:
        from uhlp.tracing.tracer import Tracer
    except ImportError:
        raise ValidationFailed("tracing.otlp_endpoint needs OpenTelemetry: pip install 'uhlp[otel]'.") from None
    headers = {}
    for name, value in settings.headers.items():
        reference = value.get_secret_value()
        headers[name] = resolve(reference, read_secret) or ""
        if not headers[name]:
            raise ValidationFailed(f"tracing.headers.{name} names {reference}, and there is no such secret.")
    has_path = urlsplit(settings.otlp_endpoint).path not in ("", "/")
    endpoint = settings.otlp_endpoint if has_path else settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    return Tracer(endpoint=endpoint, headers=headers, sample_ratio=settings.sample_ratio, version=own_version())
