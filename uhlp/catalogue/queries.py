"""PromQL over metrics of the catalogue: what dashboard and alert rules are put together from."""

from uhlp.catalogue.metric import Metric


def rate(metric: Metric, *by: str, only: str = "", over: str = "$__rate_interval") -> str:
    """A counter's growth per second, added up but for the labels `by`; `only` are matchers."""
    return f"sum{_by(by)} (rate({metric.name}{_braces(only)}[{over}]))"


def increase(metric: Metric, *by: str, only: str = "", over: str = "1h") -> str:
    """A counter's growth over a time, added up but for the labels `by`."""
    return f"sum{_by(by)} (increase({metric.name}{_braces(only)}[{over}]))"


def quantile(share: float, metric: Metric, *by: str, only: str = "", over: str = "$__rate_interval") -> str:
    """A quantile of a histogram."""
    series = f"sum{_by(('le', *by))} (rate({metric.name}_bucket{_braces(only)}[{over}]))"
    return f"histogram_quantile({share:g}, {series})"


def ratio(part: str, whole: str) -> str:
    """One expression over another; nothing where there is nothing to divide by."""
    return f"({part}) / ({whole} > 0)"


def now(metric: Metric, *, only: str = "") -> str:
    """A gauge as it is."""
    return f"{metric.name}{_braces(only)}"


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""


def _braces(matchers: str) -> str:
    return "{" + matchers + "}" if matchers else ""
