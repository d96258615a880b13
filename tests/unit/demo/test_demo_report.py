"""What a demo says at its end: what became of every component, and what to do next."""

from io import StringIO

import pytest
from rich.console import Console

from uhlp.demo.report import ComponentReport, DemoReport, Phase, print_report, print_way_inside

PHASE = Phase(calls=10, handlers={"llm": 10}, p50_ms=1.0, p95_ms=2.0, tokens_per_1000=3.0, usd_per_1000=0.1)
TOKENS = {"before": 347, "after": 256, "passedBefore": 30, "ofBefore": 30, "passedAfter": 30, "ofAfter": 30}


def said(state: str, *, goes_on: bool) -> str:
    one = ComponentReport("case-summary", "free text", PHASE, PHASE, candidate_id="c-1", state=state, tokens=TOKENS)
    console = Console(file=StringIO(), width=100)
    print_report(console, DemoReport("simulated", 1.0, 10, [one], {"ok": True, "entries": 3}), goes_on=goes_on)
    assert isinstance(console.file, StringIO)
    return " ".join(console.file.getvalue().split())


@pytest.mark.parametrize(
    ("state", "who", "ends"),
    [
        ("shadow", "callers get the answers of the present prompt", "reject"),
        ("canary", "a share of the calls", "rollback"),
    ],
)
def test_of_a_prompt_on_trial_it_says_who_answers_and_what_comes_next(state: str, who: str, ends: str) -> None:
    told = said(state, goes_on=True)
    assert who in told
    assert "more tokens in `after` than it will" in told
    assert "makes no more calls: when enough further ones" in told
    assert "goes into service by itself" in told
    assert "uhlp show c-1" in told
    assert f"uhlp {ends} c-1 --reason WHY" in told


def test_where_the_server_ends_no_command_is_named_that_needs_it() -> None:
    told = said("shadow", goes_on=False)
    assert "on trial" in told
    assert "uhlp show" not in told


def test_a_prompt_in_service_is_on_trial_no_more() -> None:
    assert "on trial" not in said("promoted", goes_on=True)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_server_that_goes_on_is_shown_and_of_one_that_ends_no_address_is_told(*, goes_on: bool) -> None:
    console = Console(file=StringIO(), width=100)
    print_way_inside(console, "http://127.0.0.1:8080", "t0ken", "banking77 intent", goes_on=goes_on)
    assert isinstance(console.file, StringIO)
    told = console.file.getvalue()
    for word in ("http://127.0.0.1:8080/panel", "UHLP_ADMIN_TOKEN=t0ken", "uhlp why banking77 intent", "terminal"):
        assert (word in told) == goes_on, word
    assert ("The server ends now" in told) != goes_on
