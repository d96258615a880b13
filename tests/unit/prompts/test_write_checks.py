import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uhlp.errors import OverrideRefused
from uhlp.prompts import Section, parse_prompt
from uhlp.prompts.overrides import SectionOverride
from uhlp.prompts.overrides.write_checks import check_override
from uhlp.prompts.syntax import TemplateError, parts_of

BODY = "Hello {{ name | upper }}, {% if is_new %}welcome{% endif %} {# a note #} {{ place }}."


def section(body: str = BODY, *, compressible: bool = True) -> Section:
    return Section("greeting", body, compressible, Section.hash_of(body))


def check(body: str, of: Section | None = None) -> None:
    of = of or section()
    check_override(SectionOverride(path=("greeting",), expected_hash=of.sha256, body=body), of)


def test_a_shorter_body_with_the_same_parts_is_taken() -> None:
    check("Hi {{name|upper}} {% if is_new %}!{% endif %}{{ place }}")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("Hi {{ name }} {% if is_new %}!{% endif %}{{ place }}", "lacks"),
        ("Hi {{ name|upper }} {% if is_new %}!{% endif %}", "lacks"),
        (BODY + "{{ secret }}", "adds"),
        ("Hi {{ name|upper }} {{ place }}", "control structures"),
        (BODY.replace("is_new", "True"), "control structures"),
        (BODY + "{% for a in range(10**9) %}x{% endfor %}", "control structures"),
        (BODY + "{% raw %}", "control structures"),
        (BODY + "{{ ", "no template"),
        ("  \n ", "empty"),
        (BODY + "x" * 70_000, "longer"),
    ],
)
def test_a_body_that_is_not_the_section_in_other_words_is_refused(body: str, why: str) -> None:
    with pytest.raises(OverrideRefused, match=why):
        check(body)


def test_what_must_not_be_changed_is_not() -> None:
    with pytest.raises(OverrideRefused, match="compressible"):
        check(BODY[:-1], section(compressible=False))
    with pytest.raises(OverrideRefused, match="no such section"):
        check_override(SectionOverride(path=("greeting",), expected_hash="0" * 64, body="x"), None)
    with pytest.raises(OverrideRefused, match="has changed"):
        check_override(SectionOverride(path=("greeting",), expected_hash="0" * 64, body=BODY), section())


@given(st.text(alphabet="a {}%#\n-'\"|ifend", max_size=60))
@settings(max_examples=300)
def test_any_text_has_parts_or_is_no_template(text: str) -> None:
    try:
        parts = parts_of(text)
    except TemplateError:
        return
    assert parts_of(text) == parts


HEADINGS = st.lists(st.text(alphabet="ab {}%\n", max_size=30), min_size=1, max_size=4)


@given(HEADINGS, st.integers(0, 3))
def test_new_bodies_leave_the_other_sections_as_they_are(bodies: list[str], place: int) -> None:
    text = "".join(f"# Part\n{body.replace('{', '').replace('%', '')}\n" for body in bodies)
    prompt = parse_prompt(b"template: " + json.dumps(text).encode(), path="prompts/x.yaml")
    key = prompt.sections[place % len(prompt.sections)].key
    changed = prompt.with_bodies({key: "new"})
    assert [one for one in changed.sections if one.key != key] == [one for one in prompt.sections if one.key != key]
    assert "".join(one.body for one in changed.sections) == changed.text
    assert prompt.with_bodies({one.key: one.body for one in prompt.sections}).text == prompt.text
