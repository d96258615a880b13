"""The evidence of a candidate: its curve against both thresholds, the canary's arms, classes, and what it got wrong."""

from collections.abc import Mapping
from math import e, log10
from typing import Any

from uhlp.web.panel import figures
from uhlp.web.panel.charts import Line, Mark, chart
from uhlp.web.panel.markup import EMPTY, Markup, badge, details, empty, join, table, tag, when
from uhlp.web.panel.page import Visit
from uhlp.web.panel.waiting_list import side_by_side, verdict_buttons

_OPEN_MISMATCHES = 3
_TOP = 4.0
"""Of the curve, in powers of ten above its higher threshold: what is far beyond needs no room."""
_FAILED = Markup("nothing: it failed or was too slow")
_SAYS = {
    "golden": "a golden example",
    "human": "a person",
    "judge": "the judge",
    "majority": "the majority of three model calls",
    "single": "one model call",
}
_RAISED = str.maketrans("-.0123456789", "⁻·⁰¹²³⁴⁵⁶⁷⁸⁹")
_ARMS = {
    "errors": "Errors",
    "latency_p50": "Slower than the usual half",
    "latency_p95": "Slower than the usual 95 %",
    "cost": "Dearer than usual",
}


def curve(told: Mapping[str, Any]) -> Markup:
    """Evidence for and against, comparison by comparison. Powers of ten: each step up is ten times as sure."""
    account = told.get("account")
    points = (account or {}).get("curve") or []
    if account is None or len(points) < 2:
        return empty("No comparison yet.", "The curve is drawn from the held-out replay on.")
    accept, reject = account["thresholdAccept"] * log10(e), account["thresholdReject"] * log10(e)
    top = max(accept, reject) + _TOP
    bottom = -2.0

    def height(log_e: float | None) -> float:
        return bottom if log_e is None else min(top, max(bottom, log_e * log10(e)))

    lines = [
        Line("against", [(n, height(against)) for n, _k, _for, against in points], "bad"),
        Line("for", [(n, height(good)) for n, _k, good, _against in points], "accent"),
    ]
    marks = [Mark("let in", y=accept, tone="good"), Mark("refused", y=reject, tone="bad")]
    first, last = points[0][0], points[-1][0]
    said = (
        f"Evidence for and against fewer than {account['epsilon'] * 100:g} % wrong, after {last:,} comparisons with "
        f"{account['k']:,} lost: {_power(account['logE'])} for, {_power(account['logEReject'])} against. "
        f"Let in at 10 to the {accept:.1f}, refused at 10 to the {reject:.1f}. Verdict: {account['verdict']}."
    )
    drawn = chart(
        lines,
        label=said,
        x_range=(first, last),
        x_labels=[(first, f"{first:,}"), (last, f"{last:,} comparisons")],
        tick=_power_of_ten,
        marks=marks,
    )
    return tag("div", tag("p", said, class_="quiet"), drawn)


def _power_of_ten(height: float) -> str:
    return f"10{f'{height:g}'.translate(_RAISED)}"


def _power(log_e: float | None) -> str:
    return "nothing" if log_e is None else f"10 to the {log_e * log10(e):.1f}"


def arms(told: Mapping[str, Any]) -> Markup:
    """While it is a canary: bad events in its arm, and how many were its fair share."""
    canary = told.get("canary")
    if not canary:
        return EMPTY
    rows = [
        [
            name,
            figures.count(one["badCandidate"]),
            f"{one['fairShare']:,.1f}",
            figures.count(one["badBaseline"]),
            f"{max(0.0, one['logE'] * log10(e)):.1f} of {one['threshold'] * log10(e):.1f}",
            badge("alarm", "bad") if one["alarm"] else badge("quiet", "good"),
        ]
        for key, name in _ARMS.items()
        if (one := canary.get(key)) is not None
    ]
    columns = ["Bad events", "Candidate", "Its fair share", "Model", "Evidence, powers of ten", "Alarm"]
    return tag("h3", "Canary against the model") + table(
        "Canary against the model", columns, rows, numeric=columns[1:5]
    )


def classes(told: Mapping[str, Any]) -> Markup:
    """Where the component has a decision field: which of its values the handler is trusted with."""
    counts = told.get("classes")
    if not counts:
        return EMPTY
    rows = [
        [name, figures.count(agreeing), figures.count(wrong)]
        for name, (agreeing, wrong, *_) in sorted(counts.items(), key=lambda item: -item[1][0])
    ]
    columns = ["Answer", "Agreed", "Wrong"]
    return details(
        f"{len(rows)} classes of answers", table("Classes", columns, rows, numeric=columns[1:]), key="classes"
    )


def mismatches(visit: Visit, told: Mapping[str, Any]) -> Markup:
    """Lost comparisons side by side; a person may say who was right."""
    found = told["mismatches"]
    if not found:
        return empty("It lost no comparison." if told["n"] else "Nothing was compared yet.")
    shown = [_mismatch(visit, told, one) for one in reversed(found)]
    told_of = tag("p", f"The newest {len(found)} that are kept.", class_="quiet")
    rest = shown[_OPEN_MISMATCHES:]
    return join(
        [told_of, *shown[:_OPEN_MISMATCHES], details(f"{len(rest)} more", *rest, key="mismatches") if rest else None]
    )


def _mismatch(visit: Visit, told: Mapping[str, Any], one: Mapping[str, Any]) -> Markup:
    case = one["case"]
    head = tag(
        "h3",
        f"Found in {one['stage']}; {_SAYS.get(one['reference'], one['reference'])} says what is right ",
        badge("the handler was right", "good") if one["overruled"] else None,
    )
    if case is None:
        return tag("article", head, tag("p", "Its values were deleted.", class_="quiet"), class_="card")
    fields = {"app": told["appId"], "component": told["componentId"], "hash": str(case.get("inputHash", ""))}
    answers = [("The handler", case["got"])] if case["got"] is not None else []
    answers.append(("The reference", case["expected"]))
    buttons = verdict_buttons(visit, fields, answers) if fields["hash"] else EMPTY
    side = "the coder may see it" if one["split"] == "train" else "held out"
    return tag(
        "article",
        head,
        tag("p", when(one["ts"]), f", {side}", class_="quiet"),
        side_by_side(
            [
                ("Input", case["input"]),
                ("The handler said", _FAILED if case["got"] is None else case["got"]),
                ("Right", case["expected"]),
            ],
            one["payload"][:12],
        ),
        buttons,
        class_="card",
    )
