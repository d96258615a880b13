"""Prompt templates: Jinja2's sandbox, and no template takes more than its share of processor time.

The calls that share a model worker wait while one of them renders. A loop is ended by a timer; what Python computes in
one step, which no timer can end, is refused when it is large: arithmetic on long whole numbers.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jinja2
from jinja2.filters import do_round
from jinja2.sandbox import SandboxedEnvironment

from . import RunnerError

COMPILE_LIMIT_S = 1.0
RENDER_LIMIT_S = 0.25
"""Processor time. A template of 100 kB compiles in 0.1 to 0.5 s, once; 10,000 lines render in 0.01 s."""
NUMBER_BITS = 4096
ROUND_DIGITS = 300


class TemplateTooSlow(BaseException):
    """Its processor time is used up. No Exception, so that nothing on the way takes it for one of its own."""


class TemplateRefused(RunnerError):
    """The template computes what would take too long in one step."""


class _Environment(SandboxedEnvironment):
    intercepted_binops = frozenset(("**", "*", "//", "%"))

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            longer = abs(right) if operator == "**" else 1
            if left.bit_length() * longer > NUMBER_BITS or right.bit_length() > NUMBER_BITS:
                raise TemplateRefused(f"whole numbers have at most {NUMBER_BITS} bits")
        return super().call_binop(context, operator, left, right)


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    if abs(precision) > ROUND_DIGITS:
        raise TemplateRefused(f"round takes at most {ROUND_DIGITS} digits")
    return do_round(value, precision, method)


_environment = _Environment(undefined=jinja2.StrictUndefined, autoescape=False)
_environment.filters["round"] = _round


def compiled(text: str) -> Callable[[dict[str, Any]], str]:
    """What renders this text over names. Both raise TemplateTooSlow, and what the template does."""
    with _at_most(COMPILE_LIMIT_S, "compiled"):
        template = _environment.from_string(text)

    def render(names: dict[str, Any]) -> str:
        with _at_most(RENDER_LIMIT_S, "rendered"):
            return template.render(names)

    return render


@contextmanager
def _at_most(limit_s: float, done: str) -> Iterator[None]:
    def end(signal_number: int, frame: object) -> None:
        raise TemplateTooSlow(f"it was not {done} within {limit_s:g} s of processor time; make it shorter")

    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
