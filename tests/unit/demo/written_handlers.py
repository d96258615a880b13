"""What the demo's tests share: recorded traffic answered by the simulated model, and running a written handler."""

import random
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from uhlp.demo.simulated_model.tasks import TASKS
from uhlp.demo.traffic import generator
from uhlp.optimization.proposer import Counterexample, ProposalTask, TrainSample

Handle = Callable[[dict[str, Any], dict[str, Any]], Any]
Recorded = list[tuple[dict[str, Any], Any]]


class Deoptimize(Exception):
    """Stands for the sandbox's own."""


def load(code: str) -> Handle:
    """The `handle` of generated code."""
    namespace: dict[str, Any] = {"__name__": "handler"}
    exec(compile(code, "handler.py", "exec"), namespace)  # our own templates, filled by the code under test
    return namespace["handle"]


def record(component_id: str, count: int, *, seed: int = 1) -> Recorded:
    """Requests of the generator with the simulated model's answers."""
    task = next(task for task in TASKS if task.name == component_id)
    dice = random.Random(seed)

    def text(request: dict[str, Any]) -> str:
        if component_id == "ticket-triage":
            return f"Subject: {request['subject']}\nText: {request['text']}"
        return next(iter(request.values()))

    return [(request, task.answer(text(request), dice)) for request in islice(generator(component_id, seed), count)]


def task_for(recorded: Iterable[tuple[Any, Any]], output_schema: dict[str, Any], **more: Any) -> ProposalTask:
    """What the coder is to be told of these recorded calls."""
    return ProposalTask(
        app_id="shop",
        component_id="component",
        description="Does something.",
        prompt_text="# Task\nDo it.\n\n```\nexample\n```\n# Answer\nJSON",
        input_schema={"type": "object"},
        output_schema=output_schema,
        train=tuple(TrainSample(each, output) for each, output in recorded),
        **more,
    )


def counterexamples(handle: Handle, recorded: Recorded) -> tuple[Counterexample, ...]:
    """What a handler gets wrong."""
    found = []
    for each, expected in recorded:
        try:
            got = handle(each, {})
        except Deoptimize:
            continue
        if got != expected:
            found.append(Counterexample(each, expected, got))
    return tuple(found)


def coverage(handle: Handle, recorded: Recorded) -> float:
    """The share of requests that a handler answers."""
    answered = 0
    for each, _ in recorded:
        try:
            handle(each, {})
        except Deoptimize:
            continue
        answered += 1
    return answered / len(recorded)


def run_tests(folder: Path, code: str, tests: str) -> int:
    """Real pytest over a handler and its tests; its exit status."""
    (folder / "handler.py").write_text(code)
    (folder / "test_handler.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\n")
    before = list(sys.path)
    _forget_modules()
    try:
        return int(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", str(folder)]))
    finally:
        sys.path[:] = before
        _forget_modules()


def _forget_modules() -> None:
    """Another run of tests in this process, here or elsewhere, may have loaded another handler."""
    for module in ("handler", "test_handler"):
        sys.modules.pop(module, None)
