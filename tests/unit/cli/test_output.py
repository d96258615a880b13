"""What commands print: shares, and tables that lose nothing."""

import pytest

from uhlp.cli.output import percent, print_entries, print_table


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, None), (0, "0.0%"), (1, "100.0%"), (0.918, "91.8%"), (0.0003, "0.03%"), (0.99996, "99.996%"),
        (1e-9, "0.0000%"), (1.5, "150.0%"),
    ],
)  # fmt: skip
def test_a_share_that_is_little_is_not_shown_as_nothing(share: float | None, shown: str | None) -> None:
    assert percent(share) == shown


@pytest.mark.parametrize("columns", range(30, 90, 3))
def test_no_column_is_lost_however_narrow_the_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    heads = ("component", "#requests", "#saved", "#spent", "#net", "#seconds", "#tokens")
    print_table(heads, [("all", 12, "$1.2500", "$0.0000", "$1.2500", "3.0", 4711)], empty="")
    shown = capsys.readouterr().out
    assert all(head.lstrip("#") in shown for head in heads)
    assert "4711" in shown
    assert max(map(len, shown.splitlines())) <= columns


@pytest.mark.parametrize("prints", [print_table, print_entries])
def test_what_is_said_instead_of_no_rows_is_said_as_it_is(capsys: pytest.CaptureFixture[str], prints) -> None:  # type: ignore[no-untyped-def]
    prints(("a", "b"), [], empty="Nothing: give it `tools: [core.x, app.<server>.y]`")
    assert capsys.readouterr().out == "Nothing: give it `tools: [core.x, app.<server>.y]`\n"
