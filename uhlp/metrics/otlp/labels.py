"""Attributes as Prometheus labels."""

import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue

from uhlp import strict_json

_NOT_IN_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_ABOUT_THE_SENDER = "telemetry.sdk."


def resource_labels(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Those of a resource, but for what its SDK says of itself."""
    return labels_of(one for one in attributes if not one.key.startswith(_ABOUT_THE_SENDER))


def scope_labels(scope: InstrumentationScope) -> dict[str, str]:
    """Name, version and attributes of a scope."""
    named = {"otel_scope_name": scope.name, "otel_scope_version": scope.version}
    return {**{label: value for label, value in named.items() if value}, **labels_of(scope.attributes)}


def labels_of(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes by their labels; those that share one are joined by `;`. An empty value is none."""
    labels: dict[str, str] = {}
    for attribute in attributes:
        text, label = _text(attribute.value), label_name(attribute.key)
        if text:
            labels[label] = f"{labels[label]};{text}" if label in labels else text
    return labels


def label_name(key: str) -> str:
    """`http.method` as `http_method`, `2xx` as `key_2xx`."""
    name = _NOT_IN_A_LABEL.sub("_", key)
    if name[:1].isdigit():
        return f"key_{name}"
    return f"key{name}" if name.startswith("__") else name


def _text(value: AnyValue) -> str:
    """A string as it is, bytes in base64, everything else as JSON."""
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "string_value":
        return value.string_value
    return b64encode(value.bytes_value).decode() if kind == "bytes_value" else strict_json.dumps(_plain(value)).decode()


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {one.key: _plain(one.value) for one in value.kvlist_value.values}
    if kind == "bytes_value":
        return b64encode(value.bytes_value).decode()
    found = getattr(value, kind) if kind else None
    return str(found) if isinstance(found, float) and not -1e300 < found < 1e300 else found
