"""Trail: how an account's evidence grew, in a bounded number of points, for people to look at."""

from collections.abc import Iterable
from typing import Self

MOST_POINTS = 96
TrailPoint = tuple[int, int, float | None, float | None]
"""n, k, log evidence for acceptance, log evidence for rejection; None where it is not finite."""


class Trail:
    """One point every `stride` comparisons; when the room is full, every second is dropped and the stride doubles."""

    __slots__ = ("_points", "_stride")

    def __init__(self, points: Iterable[TrailPoint] = (), stride: int = 1) -> None:
        self._points, self._stride = list(points), stride

    def is_due(self, n: int) -> bool:
        return n % self._stride == 0

    def add(self, point: TrailPoint) -> None:
        """A point at n, a multiple of the stride."""
        self._points.append(point)
        if len(self._points) >= MOST_POINTS:
            self._stride *= 2
            self._points = [kept for kept in self._points if kept[0] % self._stride == 0]

    @property
    def points(self) -> tuple[TrailPoint, ...]:
        return tuple(self._points)

    def to_dict(self) -> dict[str, object]:
        return {"stride": self._stride, "points": [list(point) for point in self._points]}

    @classmethod
    def from_dict(cls, state: object) -> Self:
        """The trail that `to_dict` described; an empty one for rows from before there were trails."""
        if not isinstance(state, dict):
            return cls()
        return cls([(int(n), int(k), good, bad) for n, k, good, bad in state["points"]], int(state["stride"]))
