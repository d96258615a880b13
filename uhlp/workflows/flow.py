"""Flow: which steps of a block lead to which, and what that allows: what is reached, what ends, what goes round."""

from collections.abc import Iterable, Mapping

Successors = Mapping[str, frozenset[str]]
"""The steps that each step may lead to; every one of them is a key."""


def reached_from(start: Iterable[str], successors: Successors) -> set[str]:
    """The steps `start` and all that they lead to."""
    seen: set[str] = set()
    pending = list(start)
    while pending:
        step = pending.pop()
        if step not in seen:
            seen.add(step)
            pending.extend(successors[step])
    return seen


def reversed_flow(successors: Successors) -> dict[str, frozenset[str]]:
    """The steps that may lead to each step."""
    before: dict[str, set[str]] = {step: set() for step in successors}
    for step, following in successors.items():
        for other in following:
            before[other].add(step)
    return {step: frozenset(leading) for step, leading in before.items()}


def circle(successors: Successors, *, without: Iterable[str]) -> tuple[str, ...] | None:
    """Steps that lead to each other in a circle, none of which is in `without`; None when there are none."""
    bounded = frozenset(without)
    done: set[str] = set(bounded)
    for start in successors:
        trail: list[str] = []
        pending = [(start, iter(sorted(successors[start])))] if start not in done else []
        while pending:
            step, following = pending[-1]
            if step not in trail[-1:]:
                trail.append(step)
            other = next(following, None)
            if other is None:
                done.add(step)
                trail.pop()
                pending.pop()
            elif other in trail:
                return tuple(trail[trail.index(other) :])
            elif other not in done:
                pending.append((other, iter(sorted(successors[other]))))
    return None
