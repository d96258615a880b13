"""Estimate: what the rule learner would answer of a log, without server, key or model.

Half of the log (by input) teaches, the other half is asked; the figures are of the half that was not learnt from.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from uhlp.evals.comparator import Comparator
from uhlp.optimization.proposer import TrainSample
from uhlp.optimization.rule_learner.labels import Labelling, NotLabels, TooFewSamples
from uhlp.optimization.rule_learner.rule_learner import RuleLearner
from uhlp.optimization.rule_learner.rules import RuleSet
from uhlp.traffic.importing import ImportedRow
from uhlp.traffic.split import input_hash, split_of

UpperBound = Callable[[int, int, float], float]
"""(wrong, answered, delta) → upper bound of the rate of wrong answers, wrong with probability at most delta."""

SAME_INPUT_LIMIT = 3
"""Identical inputs count at most this often."""

_WHAT_WOULD = "a coder model can write a handler for it (--coder provider/model)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered for one row; nothing when it was left to the model."""

    is_given: bool
    value: Any = None


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """A held-out answer that differs from the log; `gold` is what is really right, where the log says so."""

    line: int
    input: Any
    expected: Any
    got: Any
    gold: Any = None


@dataclass(frozen=True, slots=True)
class EstimateReport:
    """Figures of the held-out half. Shares are None where nothing was counted.

    bound: rate of answers that differ from the log, proven below this with confidence 1 - delta (a fixed-sample bound).
    Gold figures exist where the log has a gold field: `model_gold_agreement` is the recorded model's own on the same
    answered inputs. `code` and `cost` are a coder model's handler and what it took. `reason` says why nothing was
    learnt, `instead` what would help.
    """

    rows: int
    train: int
    held_out: int
    answered: int = 0
    agreed: int = 0
    coverage: float | None = None
    agreement: float | None = None
    delta: float = 0.05
    bound: float | None = None
    gold_agreement: float | None = None
    model_gold_agreement: float | None = None
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    wrong: tuple[WrongAnswer, ...] = ()
    rules: tuple[str, ...] = ()
    cross_validation: dict[str, float | None] = field(default_factory=dict)
    reason: str | None = None
    instead: str | None = None
    code: str | None = None
    cost: dict[str, float] = field(default_factory=dict)

    @property
    def applies(self) -> bool:
        """Whether rules were learnt."""
        return self.reason is None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the names are those of the attributes."""
        return {"applies": self.applies, **asdict(self)}


def estimate(
    rows: Sequence[ImportedRow],
    *,
    upper_bound: UpperBound,
    decision_field: str | None = None,
    comparator: Mapping[str, Any] | None = None,
    delta: float = 0.05,
    salt: str | None = None,
) -> EstimateReport:
    """Learn from the TRAIN half of `rows`, answer the held-out half. Blocks for about a second per 5,000 rows.

    salt: another split than the server's own, to see how much the figures depend on it.
    """
    policies = dict(comparator or {})
    taught, held_out = halves_of(rows, salt=salt)
    train = [TrainSample(row.input, row.output) for row in taught]
    blank = EstimateReport(rows=len(rows), train=len(train), held_out=len(held_out), delta=delta)
    learner = RuleLearner()
    try:
        labelling = learner.labelling(train, decision_field=decision_field, policies=policies)
        rules = learner.learn(train, labelling)
    except TooFewSamples as reason:
        return replace(blank, reason=str(reason), instead="a longer log: half of it teaches, half is asked")
    except NotLabels as reason:
        return replace(blank, reason=str(reason), instead=_WHAT_WOULD)
    if not rules.margins:
        why = f"no words of the inputs tell the {len(labelling.outputs)} labels apart reliably"
        return replace(blank, reason=why, instead=f"more samples, or {_WHAT_WOULD}")
    answers = [_answer(rules, labelling, row) for row in held_out]
    names = [labelling.label(row.output) or "(no label)" for row in held_out]
    report = score(held_out, answers, names, blank, Comparator(policies), upper_bound)
    return replace(
        report,
        rules=tuple(rules.explain()),
        cross_validation={"coverage": rules.validation.coverage, "agreement": rules.validation.agreement},
    )


def halves_of(rows: Sequence[ImportedRow], *, salt: str | None = None) -> tuple[list[ImportedRow], list[ImportedRow]]:
    """(TRAIN, HELD-OUT) of a log, each input at most `SAME_INPUT_LIMIT` times."""
    halves: dict[str, list[ImportedRow]] = {"train": [], "held_out": []}
    times: Counter[str] = Counter()
    for row in rows:
        hashed = input_hash(row.input) if salt is None else input_hash(row.input, salt=salt)
        times[hashed] += 1
        if times[hashed] <= SAME_INPUT_LIMIT:
            halves[split_of(hashed)].append(row)
    return halves["train"], halves["held_out"]


def _answer(rules: RuleSet, labelling: Labelling, row: ImportedRow) -> Answer:
    label, _ = rules.answer(row.input)
    return Answer(label is not None, labelling.outputs[label] if label is not None else None)


def score(
    held_out: Sequence[ImportedRow],
    answers: Sequence[Answer],
    names: Sequence[str],
    blank: EstimateReport,
    comparator: Comparator,
    upper_bound: UpperBound,
) -> EstimateReport:
    """`blank` with the figures of these answers; `names` says under which label each row is counted."""
    labels: dict[str, Counter[str]] = {}
    wrong: list[WrongAnswer] = []
    answered = gold_known = gold_right = model_right = 0
    for row, answer, name in zip(held_out, answers, names, strict=True):
        asked_for = labels.setdefault(name, Counter())
        asked_for["asked"] += 1
        if not answer.is_given:
            continue
        answered += 1
        asked_for["answered"] += 1
        got = answer.value
        if comparator.equal(row.output, got):
            asked_for["agreed"] += 1
        else:
            wrong.append(WrongAnswer(row.line, row.input, row.output, got, row.gold))
        if row.has_gold:
            gold_known += 1
            gold_right += comparator.equal(row.gold, got)
            model_right += comparator.equal(row.gold, row.output)
    agreed = answered - len(wrong)
    return replace(
        blank,
        answered=answered,
        agreed=agreed,
        coverage=answered / len(held_out) if held_out else None,
        agreement=agreed / answered if answered else None,
        bound=upper_bound(len(wrong), answered, blank.delta) if answered else None,
        gold_agreement=gold_right / gold_known if gold_known else None,
        model_gold_agreement=model_right / gold_known if gold_known else None,
        labels={label: dict(labels[label]) for label in sorted(labels)},
        wrong=tuple(wrong),
    )
