"""Names and bounds as Prometheus allows them."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf, isnan

import prometheus_client

from uhlp.errors import ValidationFailed

DEFAULT_BUCKETS: tuple[float, ...] = prometheus_client.Histogram.DEFAULT_BUCKETS
OWN_PREFIX = "uhlp_"
"""Metrics of the server itself; records may not use it."""
APPLICATION_LABEL = "appId"

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED_LABEL = {"histogram": "le", "summary": "quantile"}
LONGEST_NAME = 200


def exposed_name(metric_name: str, metric_type: str) -> str:
    """The Prometheus name of a recorded metric: dots become underscores; counters get `_total` on the way out.

    Raises ValidationFailed.
    """
    name = metric_name.replace(".", "_")
    if not _METRIC_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise refused("/metric_name", f"{metric_name[:LONGEST_NAME]!r} is no metric name.")
    if name.startswith(OWN_PREFIX):
        raise refused("/metric_name", f"Names that begin with {OWN_PREFIX} are the server's own.")
    return name.removesuffix("_total") or name if metric_type == "counter" else name


def exposed_labels(labels: Mapping[str, str], metric_type: str, *, at_most: int) -> dict[str, str]:
    """Labels under their Prometheus names (dots become underscores), sorted. Raises ValidationFailed."""
    if len(labels) > at_most:
        raise refused("/labels", f"{len(labels)} labels; the limit is {at_most}.")
    exposed: dict[str, str] = {}
    for name, value in sorted(labels.items(), key=lambda item: item[0].replace(".", "_")):
        label = name.replace(".", "_")
        if (
            not _LABEL_NAME.fullmatch(label)
            or label.startswith("__")
            or label == _RESERVED_LABEL.get(metric_type)
            or len(label) > LONGEST_NAME
        ):
            known = name[:LONGEST_NAME]
            raise refused(f"/labels/{known}", f"{known!r} is no label name for a {metric_type}.")
        if label in exposed:
            raise refused(f"/labels/{name}", f"Two labels are called {label}.")
        exposed[label] = value
    return exposed


def check_label_values(labels: Mapping[str, str], longest: int) -> None:
    """Raise ValidationFailed for a value that is longer than `longest` characters."""
    for label, text in labels.items():
        if len(text) > longest:
            raise refused(f"/labels/{label}", f"{label} is {len(text)} characters long; the limit is {longest}.")


def checked_buckets(buckets: Sequence[float]) -> tuple[float, ...]:
    """Upper bounds in rising order, ending with infinity as prometheus_client has them. Raises ValidationFailed."""
    bounds = tuple(float(bound) for bound in buckets)
    if any(not low < high for low, high in pairwise(bounds)) or any(isnan(bound) for bound in bounds):
        raise refused("/buckets", "Buckets must rise.")
    if bounds in ((), (inf,)):
        raise refused("/buckets", "A histogram needs a bucket with a bound.")
    return bounds if bounds[-1] == inf else (*bounds, inf)


def refused(path: str, message: str) -> ValidationFailed:
    """What is wrong, and where in the record, as a JSON pointer."""
    return ValidationFailed(f"{path}: {message}", details={"problems": [{"path": path, "message": message}]})
