"""Curves over time: requests, latency and cost of a component or an application, from the windows that rules read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from uhlp.web.panel import figures
from uhlp.web.panel.charts import Line, Mark, chart, sparkline
from uhlp.web.panel.markup import EMPTY, Markup, empty, tag, when
from uhlp.web.services import Services

HOUR_S = 3_600
DAY_S = 86_400
_SPARKS = 30
_MARKS = 4
"""So many of the newest switches are marked; more would stand on each other."""
_CROWDED = 0.14
"""Names that stand closer than this share of the width would."""


class Span(NamedTuple):
    """A stretch of time up to now, in how many points it is drawn, and its name."""

    seconds: int
    points: int
    words: str


_SPANS = (Span(300, 30, "5 minutes"), Span(900, 45, "15 minutes"), Span(HOUR_S, 60, "hour"), Span(DAY_S, 96, "day"))


def requests_chart(services: Services, app_ids: Sequence[str]) -> Markup:
    """Requests a minute, at most over the last hour: those that models answered, and those that code did."""
    span = _span(services, app_ids, None, HOUR_S)
    if span is None:
        return empty("No requests in the last hour.")
    model = _rates(services, app_ids, "llm", span)
    code = _rates(services, app_ids, "jit", span)
    now = services.clock.now()
    peak = max(a + b for a, b in zip(model, code, strict=True))
    said = (
        f"Requests a minute in the last {span.words}: at most {peak:,.0f}; "
        f"now models answer {model[-1]:,.0f}, code {code[-1]:,.0f}."
    )
    lines = [Line("model", _over(model, now, span), "quiet"), Line("code", _over(code, now, span), "accent")]
    drawn = chart(
        lines,
        label=said,
        x_range=(now - span.seconds, now),
        x_labels=_moments(now, span),
        tick=lambda rate: f"{rate:,g}",
    )
    return tag("div", tag("p", said, class_="quiet"), drawn)


def spark(services: Services, app_id: str, component_id: str) -> Markup:
    """Requests of at most the last hour, small."""
    span = _span(services, [app_id], component_id, HOUR_S)
    if span is None:
        return EMPTY
    windows = services.windows.curve(app_id, component_id, window_s=span.seconds, points=_SPARKS)
    return sparkline([float(window.count) for window in windows], f"Requests in the last {span.words}")


def switch_charts(services: Services, app_id: str, component_id: str, versions: Sequence[Mapping[str, Any]]) -> Markup:
    """Latency and cost of every request across the moments at which another version took over."""
    span = _span(services, [app_id], component_id, DAY_S)
    if span is None:
        return empty("No requests in the last day.", "Latency and cost are drawn as they come.")
    now = services.clock.now()
    series = services.windows.curve(app_id, component_id, window_s=span.seconds, points=span.points)
    marks = _switches(versions, span, now)
    usual, slow, cost = (
        [window.value(*asked) for window in series]
        for asked in (("p50", "latency_ms"), ("p95", "latency_ms"), ("avg", "cost_usd"))
    )
    latency = chart(
        [Line("p95", _over(slow, now, span), "quiet"), Line("p50", _over(usual, now, span))],
        label=f"Latency in the last {span.words}; the median is {figures.milliseconds(_last(usual))} now.",
        x_range=(now - span.seconds, now),
        x_labels=_moments(now, span),
        tick=figures.milliseconds,
        marks=marks,
        is_logarithmic=True,
    )
    parts = [tag("h3", "Latency"), latency]
    if any(cost):
        dear = chart(
            [Line("average", _over(cost, now, span))],
            label=f"Cost of a request in the last {span.words}; {figures.usd(_last(cost))} now.",
            x_range=(now - span.seconds, now),
            x_labels=_moments(now, span),
            tick=figures.usd,
            marks=marks,
        )
        parts += [tag("h3", "Cost of a request"), dear]
    return tag("div", *parts)


def _span(services: Services, app_ids: Sequence[str], component_id: str | None, most_s: int) -> Span | None:
    """The shortest that holds all requests of the last `most_s` seconds; None when there were none."""
    known = [span for span in _SPANS if span.seconds <= most_s]

    def requests(span: Span) -> int:
        return sum(services.windows.window(app_id, component_id, span.seconds).count for app_id in app_ids)

    total = requests(known[-1])
    return next(span for span in known if requests(span) == total) if total else None


def _rates(services: Services, app_ids: Sequence[str], handler: str, span: Span) -> list[float]:
    """Requests a minute that this kind of handler answered, all applications together.

    Of whole stretches only: the one in progress would jump up and down.
    """
    total = [0.0] * (span.points - 1)
    for app_id in app_ids:
        curve = services.windows.curve(app_id, None, window_s=span.seconds, points=span.points, handler=handler)
        for at, window in enumerate(curve[:-1]):
            total[at] += window.value("rate", "calls_per_min") or 0.0
    return total


def _switches(versions: Sequence[Mapping[str, Any]], span: Span, now: float) -> list[Mark]:
    """Every time that a version went into service, the newest few. Those close together share one name."""
    found = sorted(
        (service["from"], str(version["version"]).partition("@")[0])
        for version in versions
        for service in version["services"]
        if service["from"] >= now - span.seconds
    )[-_MARKS:]
    marks: list[Mark] = []
    name = ""
    for at, (moment, version) in enumerate(found):
        name = f"{name} \u2192 {version}" if name else version
        is_crowded = at + 1 < len(found) and found[at + 1][0] - moment < _CROWDED * span.seconds
        marks.append(Mark("" if is_crowded else name, x=moment))
        name = name if is_crowded else ""
    return marks


def _over(values: Sequence[float | None], now: float, span: Span) -> list[tuple[float, float]]:
    """Values at the ends of their stretches of time; what was not observed is left out."""
    step = span.seconds / len(values)
    return [(now - (len(values) - 1 - at) * step, value) for at, value in enumerate(values) if value is not None]


def _moments(now: float, span: Span) -> list[tuple[float, Markup]]:
    """Labels of the time axis, the last one now."""
    past = [now - span.seconds * part for part in (0.95, 0.63, 0.31)]
    return [*((at, when(at)) for at in past), (now, tag("span", "now"))]


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)
