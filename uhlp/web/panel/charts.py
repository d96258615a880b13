"""Charts as plain SVG. Lines stretch with the page, labels are HTML beside them, so that they keep their size.

Every line and every threshold is named where it stands; what a chart shows is also said in words (`label`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from uhlp.web.panel.markup import EMPTY, Markup, tag

Point = tuple[float, float]
_WIDE, _HIGH = 1000.0, 100.0
_NAME_HIGH = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """`points` from left to right; `tone` is accent, quiet, good, warn or bad."""

    name: str
    points: Sequence[Point]
    tone: str = "accent"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that holds for a whole height (`y`) or moment (`x`): a threshold, a switch."""

    name: str
    y: float | None = None
    x: float | None = None
    tone: str = "quiet"


def sparkline(values: Sequence[float | None], label: str) -> Markup:
    """A small curve without axes; gaps where nothing was observed."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return EMPTY
    top = max(known) or 1.0
    step = _WIDE / (len(values) - 1)
    path = _path(
        [
            (at * step, None if value is None else _HIGH - 4 - value / top * (_HIGH - 8))
            for at, value in enumerate(values)
        ]
    )
    return tag(
        "svg",
        tag("path", d=path),
        class_="sparkline",
        viewBox="0 0 1000 100",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def chart(
    lines: Sequence[Line],
    *,
    label: str,
    x_range: tuple[float, float],
    x_labels: Sequence[tuple[float, Markup | str]],
    tick: Callable[[float], str],
    marks: Sequence[Mark] = (),
    is_logarithmic: bool = False,
) -> Markup:
    """Lines over a common x; `x_labels` stand below it, y is written by `tick`. EMPTY when there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if not points:
        return EMPTY
    heights = [y for _x, y in points] + [mark.y for mark in marks if mark.y is not None]
    scale = _Scale(x_range, heights, is_logarithmic)
    drawn = [
        tag("path", d=_path([scale.place(*point) for point in line.points]), class_=f"line {line.tone}")
        for line in lines
    ]
    drawn += [
        tag("line", x1=0, x2=_WIDE, y1=scale.y(mark.y), y2=scale.y(mark.y), class_=f"mark {mark.tone}")
        for mark in marks
        if mark.y is not None
    ]
    drawn += [
        tag("line", x1=scale.x(mark.x), x2=scale.x(mark.x), y1=0, y2=_HIGH, class_=f"mark {mark.tone}")
        for mark in marks
        if mark.x is not None
    ]
    grid = [tag("line", x1=0, x2=_WIDE, y1=scale.y(at), y2=scale.y(at), class_="grid") for at in scale.ticks]
    svg = tag("svg", *grid, *drawn, viewBox="0 0 1000 100", preserveAspectRatio="none", role="img", aria_label=label)
    ticks = [_at(tick(at), "tick", top=scale.y(at)) for at in scale.ticks]
    below = [_at(text, "below", left=scale.x(x) / 10, align=_side(scale.x(x))) for x, text in x_labels]
    return tag(
        "div",
        tag("div", svg, *ticks, *_names(lines, marks, scale), class_="plot"),
        tag("div", *below, class_="axis"),
        class_="chart",
    )


class _Scale:
    """From values to the 1000 by 100 of the drawing."""

    def __init__(self, x_range: tuple[float, float], heights: Sequence[float], is_logarithmic: bool) -> None:
        self._left, self._span = x_range[0], (x_range[1] - x_range[0]) or 1.0
        self._log = is_logarithmic
        if is_logarithmic:
            low = floor(log10(max(min(height for height in heights if height > 0), 1e-9)))
            high = max(ceil(log10(max(heights))), low + 1)
            self._low, self._high = float(low), float(high)
            self.ticks = [10.0**power for power in range(low, high + 1)]
        else:
            self._low, step = min(0.0, *heights), _step(max(0.0, *heights) - min(0.0, *heights))
            self._low = floor(self._low / step) * step
            self._high = max(ceil(max(heights) / step) * step, self._low + step)
            self.ticks = [self._low + step * at for at in range(round((self._high - self._low) / step) + 1)]

    def x(self, value: float) -> float:
        return round((value - self._left) / self._span * _WIDE, 2)

    def y(self, value: float) -> float:
        if self._log:
            value = log10(max(value, 10**self._low))
        return round(_HIGH - (value - self._low) / (self._high - self._low) * _HIGH, 2)

    def place(self, x: float, y: float) -> tuple[float, float]:
        return self.x(x), self.y(y)


def _names(lines: Sequence[Line], marks: Sequence[Mark], scale: _Scale) -> list[Markup]:
    """Lines and thresholds are named at the right end of their height, moved apart where they would meet; moments at
    the top."""
    wanted = [(scale.y(line.points[-1][1]), line.name, line.tone) for line in lines if line.points]
    wanted += [(scale.y(mark.y), mark.name, mark.tone) for mark in marks if mark.y is not None]
    wanted.sort()
    tops = [top for top, _name, _tone in wanted]
    for at in range(1, len(tops)):
        tops[at] = max(tops[at], tops[at - 1] + _NAME_HIGH)
    for at in range(len(tops) - 1, -1, -1):  # what was pushed out at the bottom goes up again
        tops[at] = min(tops[at], _HIGH - (len(tops) - 1 - at) * _NAME_HIGH)
    placed = [_at(name, f"name {tone}", top=top) for top, (_, name, tone) in zip(tops, wanted, strict=True)]
    for mark in marks:
        if mark.x is not None and mark.name:
            place = scale.x(mark.x)
            placed.append(_at(mark.name, f"moment {mark.tone}", left=place / 10, align=_side(place)))
    return placed


def _at(
    text: Markup | str, class_: str, *, top: float | None = None, left: float | None = None, align: str = ""
) -> Markup:
    place = (f"top:{top:g}%;" if top is not None else "") + (f"left:{left:g}%" if left is not None else "")
    return tag("span", text, class_=f"{class_} {align}".rstrip(), style=place)


def _side(x: float) -> str:
    """Which way a label grows, so that it stays inside."""
    return "start" if x < 150 else "end" if x > 850 else "middle"


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    parts, is_drawing = [], False
    for x, y in points:
        if y is None:
            is_drawing = False
            continue
        parts.append(f"L{x:g} {y:g}" if is_drawing else f"M{x:g} {y:g}h0.1")  # a point alone is a dot
        is_drawing = True
    return "".join(parts)


def _step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that about four ticks stand over `span`."""
    if span <= 0:
        return 1.0
    rough = span / 4
    power = 10.0 ** floor(log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
