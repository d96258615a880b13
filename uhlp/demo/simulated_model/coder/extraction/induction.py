"""Induction: from (text, output) samples to an extractor that is right on them.

1. Each output field gets a kind: constant, number, choice or text, by what its values can be traced to.
2. Each sample in which every value can be traced gives a form: its text with the values taken out.
3. Forms that occur often enough are kept, the most demanding first; those that are wrong on samples go.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

from uhlp import strict_json
from uhlp.demo.simulated_model.coder.extraction import tracing
from uhlp.demo.simulated_model.coder.extraction.extractor import Extractor, Field, slot_name
from uhlp.demo.simulated_model.coder.extraction.forms import Form, form_of, specificity, text_slot
from uhlp.demo.simulated_model.coder.extraction.spellings import learn_spellings
from uhlp.demo.simulated_model.coder.extraction.tracing import Pair, Span

MIN_SAMPLES = 8
MIN_SUPPORT = 2
MIN_TRACED_SHARE = 0.5
MAX_WRONG_SHARE = 0.1
"""Of a form's answers on the samples: a model is wrong now and then, so its recorded answers are too."""

_MOST_ALIGNMENTS = 50
_LENGTH_ROOM = 2


def induce(
    samples: Sequence[tuple[str, Any]],
    *,
    input_field: str,
    output_schema: Mapping[str, Any],
    knows_spellings: bool,
    counterexamples: Sequence[tuple[str, Any]] = (),
) -> Extractor | None:
    """An extractor that has learnt from these samples, or None when too few can be traced.

    knows_spellings: look at how numbers are written; else one decimal mark is taken for all of them.
    counterexamples: texts with the right output; whatever answers one of them wrongly is dropped.
    """
    known = [*samples, *counterexamples]
    pairs = [(" ".join(text.split()), _as_fields(output)) for text, output in known]
    names = Counter(tuple(sorted(out)) for _, out in pairs).most_common(1)
    if len(pairs) < MIN_SAMPLES or not names or not names[0][0]:
        return None
    pairs = [pair for pair in pairs if tuple(sorted(pair[1])) == names[0][0] and _is_flat(pair[1])]
    if len(pairs) < MIN_SAMPLES:
        return None
    ordered = list(pairs[0][1])
    best: Extractor | None = None
    best_right = 0
    for marks in [tracing.MARKS] if knows_spellings else [(mark,) for mark in tracing.MARKS]:
        extractor = _induce(pairs, ordered, input_field, output_schema, marks)
        if extractor is None:
            continue
        extractor = _without_wrong_forms(extractor, pairs) if knows_spellings else extractor
        right = sum(_is_right(extractor, text, out) for text, out in pairs)
        if right > best_right:
            best, best_right = extractor, right
    if best is None:
        return None
    return _sparing(best, [(" ".join(text.split()), _as_fields(output)) for text, output in counterexamples])


def _induce(
    pairs: Sequence[Pair], names: Sequence[str], input_field: str, schema: Mapping[str, Any], marks: Sequence[str]
) -> Extractor | None:
    number_pattern = tracing.SPELLED_NUMBER if len(marks) > 1 else tracing.PLAIN_NUMBER
    fields = []
    for name in names:
        field = _field(name, pairs, _schema_of(schema, name), number_pattern, marks)
        if field is None:
            return None
        fields.append(field)
    traced = [list(_alignments(text, out, fields, number_pattern, marks)) for text, out in pairs]
    support: Counter[Form] = Counter()
    for (text, _), alignments in zip(pairs, traced, strict=True):
        if len(alignments) == 1:
            support[form_of(text, alignments[0], fields)] += 1
    forms = [form for form, count in support.items() if count >= MIN_SUPPORT]
    if not forms:
        return None
    forms.sort(key=lambda form: (specificity(form, fields), support[form], form), reverse=True)
    chosen = [_likeliest(text, each, fields, support) for (text, _), each in zip(pairs, traced, strict=True)]
    aligned = [(text, out, spans) for (text, out), spans in zip(pairs, chosen, strict=True) if spans]
    written = [
        (text[spans[index].start : spans[index].end], out[field.name], field)
        for text, out, spans in aligned
        for index, field in enumerate(fields)
        if field.kind == "number"
    ]
    return Extractor(
        input_field=input_field,
        fields=tuple(fields),
        forms=tuple(forms),
        slots={
            slot_name(index, field): _slot(field, index, aligned, number_pattern)
            for index, field in enumerate(fields)
            if field.kind != "constant"
        },
        mark=marks[0],
        spellings=learn_spellings(written) if len(marks) > 1 else None,
        max_characters=_LENGTH_ROOM * max(len(text) for text, _ in pairs),
    )


def _field(
    name: str, pairs: Sequence[Pair], schema: Mapping[str, Any], number_pattern: str, marks: Sequence[str]
) -> Field | None:
    """What kind of field this is; None when its values come from nowhere in the texts."""
    values = [out[name] for _, out in pairs]
    if len({strict_json.canonical(value) for value in values}) == 1:
        return Field(name, "constant", value=values[0])
    found: tuple[Field, int] | None
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        is_whole = schema.get("type") == "integer" or ("type" not in schema and all(type(v) is int for v in values))
        found = tracing.number_field(name, pairs, is_whole=is_whole, pattern=number_pattern, marks=marks)
    else:
        found = tracing.choice_field(name, pairs)
        if found is None and all(isinstance(value, str) for value in values):
            found = tracing.text_field(name, pairs)
    return found[0] if found and found[1] >= MIN_TRACED_SHARE * len(pairs) else None


def _alignments(
    text: str, out: Mapping[str, Any], fields: Sequence[Field], number_pattern: str, marks: Sequence[str]
) -> Iterator[dict[int, Span]]:
    """The ways to find every value of `out` in a place of its own; the same form is given once."""
    traced = [index for index, field in enumerate(fields) if field.kind != "constant"]
    candidates = [list(_spans(fields[index], text, out[fields[index].name], number_pattern, marks)) for index in traced]
    seen: set[Form] = set()
    for number, spans in enumerate(product(*candidates)):
        if number >= _MOST_ALIGNMENTS:
            return
        in_order = sorted(spans, key=lambda span: span.start)
        if any(a.end > b.start for a, b in pairwise(in_order)):
            continue
        alignment = dict(zip(traced, spans, strict=True))
        form = form_of(text, alignment, fields)
        if form not in seen:
            seen.add(form)
            yield alignment


def _spans(field: Field, text: str, value: Any, number_pattern: str, marks: Sequence[str]) -> Iterator[Span]:
    if field.kind == "number":
        return tracing.number_spans(field, text, value, number_pattern, marks)
    if field.kind == "choice":
        return tracing.choice_spans(field, text, value)
    return tracing.text_spans(field, text, value)


def _likeliest(
    text: str, alignments: Sequence[dict[int, Span]], fields: Sequence[Field], support: Mapping[Form, int]
) -> dict[int, Span] | None:
    """Of several alignments the one whose form other samples have; None when that is no help."""
    if len(alignments) == 1:
        return alignments[0]
    supported = [each for each in alignments if support.get(form_of(text, each, fields), 0) >= MIN_SUPPORT]
    return supported[0] if len(supported) == 1 else None


def _slot(
    field: Field, index: int, aligned: Sequence[tuple[str, Any, dict[int, Span]]], number_pattern: str
) -> tuple[str, str]:
    """(kind, expression) of a field's slot in forms."""
    if field.kind == "number":
        return "number", number_pattern
    if field.kind == "choice":
        longest_first = sorted(field.choices or {}, key=lambda written: (-len(written), written))
        return "sign", "|".join(map(re.escape, longest_first))
    return "word", text_slot([text[spans[index].start : spans[index].end] for text, _, spans in aligned])


def _without_wrong_forms(extractor: Extractor, pairs: Sequence[Pair]) -> Extractor:
    """Drop the form that is wrong most often on the samples, until none is wrong too often."""
    while extractor.forms:
        right: Counter[int] = Counter()
        wrong: Counter[int] = Counter()
        for text, out in pairs:
            found = extractor.first_match(text)
            if found is not None and extractor.answer(text) is not None:
                (right if _is_right(extractor, text, out) else wrong)[found[0]] += 1
        faulty = [index for index in wrong if wrong[index] > MAX_WRONG_SHARE * (right[index] + wrong[index])]
        if not faulty:
            break
        extractor = _without(extractor, max(faulty, key=lambda index: wrong[index]))
    return extractor


def _sparing(extractor: Extractor, counterexamples: Sequence[Pair]) -> Extractor | None:
    """Drop every form that answers a counterexample wrongly."""
    for text, out in counterexamples:
        while extractor.answer(text) is not None and not _is_right(extractor, text, out):
            found = extractor.first_match(text)
            if found is None:
                break
            extractor = _without(extractor, found[0])
    return extractor if extractor.forms else None


def _without(extractor: Extractor, index: int) -> Extractor:
    return replace(extractor, forms=(*extractor.forms[:index], *extractor.forms[index + 1 :]))


def _is_right(extractor: Extractor, text: str, out: Mapping[str, Any]) -> bool:
    answer = extractor.answer(text)
    return answer is not None and strict_json.canonical(_as_fields(answer)) == strict_json.canonical(out)


def _as_fields(output: Any) -> dict[str, Any]:
    return output if isinstance(output, dict) else {"": output}


def _is_flat(out: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str | int | float | bool) for value in out.values())


def _schema_of(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = schema.get("properties", {}).get(name) if name else schema
    return inner if isinstance(inner, dict) else {}
