"""Templates: arithmetic that stays small is as ever; what would take long is refused."""

import pytest

from uhlp.runner.templates import TemplateRefused, TemplateTooSlow, compiled


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ 2 ** 10 + 7 // 2 - 7 % 2 * 3 }}", "1024"),
        ("{{ 'ab' * 3 }}{{ '%d of %s' % (1, 'x') }}", "ababab1 of x"),
        ("{{ 2.5 | round }} {{ 2.345 | round(2) }} {{ 2.1 | round(method='ceil') }}", "2.0 2.35 3.0"),
        ("{{ 2 ** -1 }} {{ 2.0 ** 100 > 1 }} {{ n * n }}", "0.5 True 340282366920938463426481119284349108225"),
    ],
)
def test_small_arithmetic_is_pythons(template: str, text: str) -> None:
    assert compiled(template)({"n": 2**64 - 1}) == text


@pytest.mark.parametrize("template", ["{{ 9 ** 9999999 }}", "{{ n * n }}", "{{ n%7 }}", "{{ 1 | round(-9999999) }}"])
def test_arithmetic_on_long_numbers_is_refused(template: str) -> None:
    with pytest.raises(TemplateRefused):
        compiled(template)({"n": 1 << 5000})


def test_a_template_that_loops_is_ended_and_the_next_one_renders() -> None:
    loop = compiled("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    with pytest.raises(TemplateTooSlow, match="not rendered within"):
        loop({})
    assert compiled("{{ n }}")({"n": 1}) == "1"
    assert sum(range(3_000_000)) > 0  # no timer is left that ends what comes later
