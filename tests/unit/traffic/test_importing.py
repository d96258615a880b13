import pytest

from uhlp.errors import ValidationFailed
from uhlp.traffic.importing import import_rows


def test_reads_rows_of_input_and_output():
    rows = import_rows(['{"input": {"text": "a"}, "output": "x"}', "", '{"input": {"text": "b"}, "output": {"n": 1}}'])
    assert [(row.input, row.output, row.line) for row in rows] == [
        ({"text": "a"}, "x", 1),
        ({"text": "b"}, {"n": 1}, 3),
    ]
    assert not rows[0].has_gold


def test_reads_named_fields_and_wraps_the_answer():
    (row,) = import_rows(
        [b'{"text": "a", "llm_label": "x", "gold_label": "y", "other": 1}'],
        input_fields=["text"], output_field="llm_label", output_key="label", gold_field="gold_label",
    )  # fmt: skip
    assert (row.input, row.output, row.gold, row.has_gold) == ({"text": "a"}, {"label": "x"}, {"label": "y"}, True)


def test_a_mapping_renames_input_fields():
    (row,) = import_rows(['{"q": "a", "out": 1}'], input_fields={"question": "q"}, output_field="out")
    assert row.input == {"question": "a"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "Line 2 is not strict JSON: "),
        ("[1]", "JSON object"),
        ('{"text": "a", "label": "b"}', "name the fields to take instead: it has text, label"),
        ('{"input": "a", "output": 1}', "has an input that is no object"),
        ('{"input": {"a": 1, "a": 2}, "output": 1}', "uplicate"),
    ],
)
def test_errors_name_the_line_and_what_is_wrong(line, message):
    with pytest.raises(ValidationFailed) as caught:
        import_rows(['{"input": {}, "output": 1}', line])
    assert caught.value.details["problems"][0]["line"] == 2
    assert caught.value.message.startswith("Line 2 ")
    assert message in caught.value.message


def test_a_missing_named_field_is_told_with_those_there_are():
    with pytest.raises(ValidationFailed, match=r"Line 1 has no field 'answer'; it has text, label"):
        import_rows(['{"text": "a", "label": "b"}'], input_fields=["text"], output_field="answer")


def test_input_and_output_fields_are_named_together():
    with pytest.raises(ValidationFailed, match="together"):
        import_rows(["{}"], input_fields=["text"])


def test_an_empty_log_is_refused():
    with pytest.raises(ValidationFailed, match="no rows"):
        import_rows(["", " "])
