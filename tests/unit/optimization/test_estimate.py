import json

from tests.unit.optimization.label_data import tickets
from uhlp.optimization.estimate import estimate
from uhlp.traffic.importing import ImportedRow, import_rows


def one_more(wrong, answered, delta):
    """A bound that shows what it was asked; the real one lives with the statistics of the governor."""
    return (wrong + 1) / (answered + 1)


def rows_of(pairs, **kwargs):
    return [ImportedRow(inputs, output, line, **kwargs) for line, (inputs, output) in enumerate(pairs, 1)]


def test_reports_figures_of_the_half_it_did_not_learn_from():
    report = estimate(rows_of(tickets(600)), upper_bound=one_more)
    assert report.applies
    assert report.rows == 600
    assert report.train + report.held_out == 600
    assert report.coverage == report.answered / report.held_out
    assert report.coverage > 0.5
    assert report.agreement > 0.96
    assert report.bound == (len(report.wrong) + 1) / (report.answered + 1)
    assert sum(label["asked"] for label in report.labels.values()) == report.held_out
    assert sum(label.get("answered", 0) for label in report.labels.values()) == report.answered


def test_wrong_answers_are_listed_with_their_line():
    report = estimate(rows_of(tickets(1_000, noise=0.02)), upper_bound=one_more)
    assert report.answered - report.agreed == len(report.wrong) > 0
    assert all(wrong.expected != wrong.got and 1 <= wrong.line <= 1_000 for wrong in report.wrong)


def test_gold_is_held_against_both_when_the_log_has_it():
    lines = [json.dumps({"t": i["text"], "said": label, "gold": label}) for i, label in tickets(400)]
    rows = import_rows(lines, input_fields={"text": "t"}, output_field="said", output_key="label", gold_field="gold")
    report = estimate(rows, upper_bound=one_more)
    assert report.gold_agreement == report.agreement
    assert report.model_gold_agreement == 1.0


def test_says_why_nothing_was_learnt_and_what_would_help():
    report = estimate(rows_of([({"text": f"t{n}"}, f"prose {n}") for n in range(200)]), upper_bound=one_more)
    assert not report.applies
    assert "it is no label" in report.reason
    assert "coder" in report.instead
    assert report.coverage is None


def test_identical_inputs_count_at_most_three_times():
    report = estimate(rows_of(tickets(200) + [({"text": "the very same"}, "refund")] * 500), upper_bound=one_more)
    assert report.train + report.held_out <= 203


def test_the_report_is_json():
    report = estimate(rows_of(tickets(300)), upper_bound=one_more)
    assert json.loads(json.dumps(report.to_dict()))["applies"] is True
