"""How the panel writes figures and draws curves."""

import re
from itertools import pairwise

import pytest

from uhlp.web.panel import figures
from uhlp.web.panel.charts import Line, Mark, chart, sparkline
from uhlp.web.panel.markup import table, tag, when


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (figures.share(None), "\u2013"),
        (figures.share(0.0), "0 %"),
        (figures.share(0.001), "< 1 %"),
        (figures.share(0.9959, 1), "99.6 %"),
        (figures.milliseconds(0.7335), "0.73 ms"),
        (figures.milliseconds(12_345), "12.3 s"),
        (figures.seconds(3_725), "1 h 2 min"),
        (figures.usd(0), "$0.00"),
        (figures.usd(0.0000942), "$0.000094"),
        (figures.usd(-0.02), "\u2212$0.020"),
        (figures.usd(1234.5), "$1,234.50"),
        (figures.cost(0.0, tokens=0), "$0.00"),
        (figures.cost(0.0, tokens=12), "no price"),
        (figures.cost(0.0, tokens=12, unpriced_calls=3), "no price"),
        (figures.cost(0.0, tokens=12, unpriced_calls=0), "$0.00"),
        (figures.cost(0.5, tokens=12), "$0.50"),
        (figures.cost(None, tokens=12), "\u2013"),
        (figures.balance({"saved": {"usd": 0.0}, "net": {"usd": -1.0}, "unpricedRequests": 3}, "net"), "no price"),
        (figures.balance({"saved": {"usd": 3.0}, "net": {"usd": 2.0}, "unpricedRequests": 3}, "net"), "$2.00"),
        (figures.rate(6_000), "100.0 / s"),
        (figures.rate(3), "3.0 / min"),
        (figures.proven(0.05), "< 5 %"),
        (figures.spoken("runtimeStore"), "Runtime store"),
    ],
)
def test_figures_are_short_and_never_say_nothing_where_there_is_something(written: str, said: str) -> None:
    assert written == said


def drawn(*lines: Line, **more: object) -> str:
    given = {"label": "said", "x_range": (0.0, 10.0), "x_labels": [(0.0, "0"), (10.0, "10")], "tick": "{:g}".format}
    return str(chart(lines, **{**given, **more}))


def test_lines_and_thresholds_are_named_where_they_end_and_never_on_each_other() -> None:
    html = drawn(Line("for", [(0, 1), (10, 5)]), Line("against", [(0, 1), (10, 4.9)]), marks=[Mark("let in", y=4.8)])
    tops = [float(top) for top in re.findall(r'class="name [^"]*" style="top:([\d.]+)%', html)]
    assert len(tops) == 3
    assert all(below - above >= 9.9 for above, below in pairwise(tops))
    assert max(tops) <= 100


def test_a_curve_says_in_words_what_it_shows_and_leaves_gaps() -> None:
    assert 'role="img" aria-label="said"' in drawn(Line("p50", [(0, 1), (10, 2)]))
    spark = str(sparkline([1, None, 2, 3], "requests"))
    assert spark.count("M") == 2


def test_a_logarithmic_axis_spans_whole_powers_of_ten() -> None:
    html = drawn(Line("p50", [(0, 0.7), (10, 340)]), is_logarithmic=True)
    assert re.findall(r'class="tick" style="[^"]*">([\d.]+)<', html) == ["0.1", "1", "10", "100", "1000"]


def test_nothing_to_draw_is_nothing() -> None:
    assert drawn(Line("p50", [])) == ""
    assert str(sparkline([None, 1], "x")) == ""


def test_attributes_and_texts_are_escaped_alike() -> None:
    assert str(tag("a", "<b>", title='"><script>')) == '<a title="&#34;&gt;&lt;script&gt;">&lt;b&gt;</a>'


def test_a_moment_is_written_in_utc_until_a_browser_puts_it_into_its_zone() -> None:
    html = str(when(0))
    assert 'datetime="1970-01-01T00:00:00Z"' in html
    assert 'title="1970-01-01 00:00:00 UTC"' in html


def test_every_cell_of_a_table_names_its_column_for_narrow_screens() -> None:
    html = str(table("things", ["Name", "Size"], [["a", 1]], numeric=["Size"]))
    assert 'data-column="Size" class="number"' in html
