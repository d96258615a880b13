"""Rules compare numbers of a window, and say "unknown" where there are none."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uhlp.errors import ExpressionInvalid
from uhlp.expressions import SERIES_OF_FUNCTION, compile_rule


class RecordedWindow:
    """A window that knows the given numbers and nothing else."""

    def __init__(self, **values: float | None) -> None:
        self._values = values

    def value(self, function: str, series: str) -> float | None:
        return self._values.get(f"{function}_{series}")


BUSY_AND_SLOW = RecordedWindow(
    count_requests=700, avg_latency_ms=650.5, rate_calls_per_min=700, sum_cost_usd=1.4, sum_errors=0, rate_errors=0.0
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("count(requests) > 600 && avg(latency_ms) > 500", True),
        ("count(requests) > 600 && avg(latency_ms) > 650.5", False),
        ("calls_per_min >= 700", True),
        ("ratio(sum(cost_usd), count(requests)) > 0.001", True),
        ("sum(cost_usd) * 2.0 + 1.0 < 4.0 // a remark", True),
        ("!(rate(errors) > 0.05)", True),
        ("count(requests) > 600 ? avg(latency_ms) > 1000 : false", False),
    ],
)
def test_conditions_hold_or_not(source: str, expected: bool) -> None:
    assert compile_rule(source).evaluate(BUSY_AND_SLOW) is expected


@pytest.mark.parametrize(
    "source",
    [
        "p95(latency_ms) > 1",
        "!(p95(latency_ms) > 1)",
        "p95(latency_ms) != p99(latency_ms)",
        "ratio(count(requests), sum(errors)) > 1",
        "count(requests) > 600 && p95(latency_ms) > 1",
        "int(avg(latency_ms) * 1e300) > 1",
    ],
)
def test_without_data_or_with_zero_in_a_ratio_the_answer_is_unknown(source: str) -> None:
    assert compile_rule(source).evaluate(BUSY_AND_SLOW) is None


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("p95(latency_ms) > p99(latency_ms)", "no data for p95(latency_ms), p99(latency_ms)"),
        ("ratio(count(requests), sum(errors)) > 1", "a ratio is divided by 0"),
        ("int(avg(latency_ms) * 1e300) > 1", "Function 'int' error: integer overflow"),
    ],
)
def test_the_unknown_has_a_reason(source: str, why: str) -> None:
    judged = compile_rule(source).judge(BUSY_AND_SLOW)
    assert (judged.holds, judged.unknown_because) == (None, why)


def test_a_judgement_names_the_numbers_it_saw() -> None:
    judged = compile_rule("count( requests ) > 600 && (avg(latency_ms) > 1 || p95(latency_ms) > calls_per_min)").judge(
        BUSY_AND_SLOW
    )
    assert (judged.holds, judged.unknown_because) == (True, None)
    assert judged.values == {
        "count(requests)": 700, "avg(latency_ms)": 650.5, "p95(latency_ms)": None, "calls_per_min": 700,
    }  # fmt: skip


def test_rules_have_the_functions_of_the_contract_and_no_others() -> None:
    assert set(SERIES_OF_FUNCTION) == {"count", "sum", "avg", "rate", "p50", "p95", "p99", "max"}


def test_what_is_decided_without_the_missing_number_is_known() -> None:
    assert compile_rule("p95(latency_ms) > 1 || count(requests) > 600").evaluate(BUSY_AND_SLOW) is True
    assert compile_rule("p95(latency_ms) > 1 && count(requests) < 600").evaluate(BUSY_AND_SLOW) is False


def test_a_number_that_is_not_finite_is_no_data() -> None:
    assert compile_rule("avg(latency_ms) > 1").evaluate(RecordedWindow(avg_latency_ms=float("inf"))) is None
    assert compile_rule("calls_per_min > 1").evaluate(RecordedWindow()) is None


@pytest.mark.parametrize(
    ("source", "cel"),
    [
        ("latency > 1s AND count > 10/min", "avg(latency_ms) > 1000 && calls_per_min > 10"),
        ("if calls > 100/min AND p95_latency > 500ms then optimize", "calls_per_min > 100 && p95(latency_ms) > 500"),
        ("count(requests) > 600 and avg(latency_ms) > 500", "count(requests) > 600 && avg(latency_ms) > 500"),
        ("latency < 2s OR requests > 5/s", "avg(latency_ms) < 2000 || calls_per_min > 300"),
        ("count > 600", "count(requests) > 600"),
        ("avg(latency_ms) > 1.5s", "avg(latency_ms) > 1500"),
    ],
)
def test_older_spellings_are_refused_with_their_spelling_in_cel(source: str, cel: str) -> None:
    with pytest.raises(ExpressionInvalid) as refusal:
        compile_rule(source)
    assert refusal.value.details["hint"] == f"in CEL: {cel}"
    compile_rule(cel)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("", "line 1"),
        ("count(requests) >", "column 18"),
        ("sum(cost_usd) / count(requests) > 0.01", "ratio"),
        ("1/0 > 1", "ratio"),
        ("count(requests)", "no truth value"),
        ("latency_ms > 500", "avg\\(latency_ms\\)"),
        ("count(requests) > 1 && latency_ms > 500", "avg\\(latency_ms\\)"),
        ("count(requests) > 600 && p95(tokens_in) > 1", "p95\\(tokens_in\\) is not measured"),
        ("requests.count() > 1", "count\\(\\) is not measured"),
        ("count() > 1", "count\\(\\) is not measured"),
        ("count(requests, errors) > 1", "is not measured"),
        ("avg(count(requests)) > 1", "is not measured"),
        ("count(requests) + 1 > 600", "needs 1.0"),
        ("count(requests) > 600 && size(requests) > 1", "no function size"),
        ("count(requests) > 600 && speed > 1", "no series speed"),
        ('avg(latency_ms) > "5"', "no strings"),
        ("[1, 2].exists(x, count(requests) > x)", "no strings, lists or maps"),
        ("requests.matches(r'(a+)+$')", "no strings"),
        ("duration(1) > duration(2)", "no function duration"),
        ("has(requests.a)", "not valid"),
        ("if " * 600 + "1", "line 1"),
        ("1 > 0 " * 400, "2000"),
    ],
)
def test_other_faults_are_refused_with_the_reason(source: str, fault: str) -> None:
    with pytest.raises(ExpressionInvalid, match=fault):
        compile_rule(source)


TOKENS = [
    "count(requests)",
    "avg(latency_ms)",
    "calls_per_min",
    "ratio(",
    "int(",
    "(",
    ")",
    "+",
    "-",
    "*",
    "%",
    ">",
    "<=",
]
TOKENS += [
    "==",
    "&&",
    "||",
    "!",
    "?",
    ":",
    ",",
    "1",
    "0",
    "2.5",
    "9223372036854775807",
    "1e308",
    "true",
    "null",
    "in",
    "requests",
]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map(" ".join))
def test_any_source_is_a_rule_or_invalid(source: str) -> None:
    try:
        rule = compile_rule(source)
    except ExpressionInvalid:
        return
    assert rule.evaluate(BUSY_AND_SLOW) in (True, False, None)


@pytest.mark.parametrize(
    "source", ["-" * 1_990 + "1 > 0", "(" * 990 + "true" + ")" * 990, "!" * 1_990 + "true", "1" + "+1" * 990]
)
def test_the_longest_sources_do_not_hurt_the_process(source: str) -> None:
    program = f"from uhlp.expressions import compile_rule\ntry: compile_rule({source!r})\nexcept Exception: pass"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_librarys_command_line_is_not_loaded() -> None:
    program = "import sys, uhlp.expressions; sys.exit('prompt_toolkit' in sys.modules or 'typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_every_pair_in_the_table_compiles() -> None:
    for function, series_names in SERIES_OF_FUNCTION.items():
        for series in series_names:
            assert compile_rule(f"{function}({series}) > 0.5").evaluate(RecordedWindow()) is None
