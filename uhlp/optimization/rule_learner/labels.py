"""From outputs to labels: a component that only ever gives a few different answers is a classifier."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uhlp import strict_json
from uhlp.evals.comparator import Comparator

_MAX_LABELS = 200
_FREQUENT = 3
_MIN_FREQUENT_SHARE = 0.5
_MIN_CONSTANT_SHARE = 0.98
_ABSENT = object()


class NotLabels(Exception):
    """The outputs are no labels; the text says why."""


class TooFewSamples(NotLabels):
    """Nothing can be said of the outputs yet: there are too few."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """`outputs` maps a label to the output it stands for; `label_of` the canonical bytes of an output to its label.

    An output that `label_of` lacks is one that no label stands for.
    """

    outputs: Mapping[str, Any]
    label_of: Mapping[bytes, str]

    def label(self, output: Any) -> str | None:
        return self.label_of.get(strict_json.canonical(output))


def find_labels(outputs: Sequence[Any], *, decision_field: str | None, comparator: Comparator) -> Labelling:
    """The labels of TRAIN outputs. Label = value of `decision_field` ("a.b"), or the whole output without one.

    Raises NotLabels when fields are free text, values are too many, or another field varies within one label.
    """
    if comparator.not_comparable_fields:
        raise NotLabels(f"{', '.join(comparator.not_comparable_fields)} is free text, which no rule can write")
    distinct: dict[bytes, Any] = {}
    counts: Counter[bytes] = Counter()
    for output in outputs:
        key = strict_json.canonical(output)
        distinct.setdefault(key, output)
        counts[key] += 1
    groups = _groups(distinct, counts, decision_field, comparator)
    _refuse_unlike_labels(groups, counts, decision_field)
    names = _names(groups)
    templates: dict[str, Any] = {}
    label_of: dict[bytes, str] = {}
    for value, keys in groups.items():
        template = distinct[keys[0]]
        templates[names[value]] = template
        fitting = [key for key in keys if comparator.equal(distinct[key], template)]
        label_of.update(dict.fromkeys(fitting, names[value]))
        size, constant = sum(counts[key] for key in keys), sum(counts[key] for key in fitting)
        if size >= _FREQUENT and constant < _MIN_CONSTANT_SHARE * size:
            other = next(key for key in keys if key not in label_of)
            how = comparator.differences(template, distinct[other])[0]
            raise NotLabels(f"outputs differ although {decision_field or 'the output'} is the same: {how}")
    return Labelling(templates, label_of)


def _groups(
    distinct: Mapping[bytes, Any], counts: Counter[bytes], decision_field: str | None, comparator: Comparator
) -> dict[bytes, list[bytes]]:
    """Outputs by decision value, the most frequent output of each first. Without a field, by what counts as equal."""
    groups: dict[bytes, list[bytes]] = {}
    for key, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
        if decision_field is not None:
            value = _at(distinct[key], decision_field)
            if value is _ABSENT:
                raise NotLabels(f"an output has no field {decision_field}, which is to decide")
            groups.setdefault(strict_json.canonical(value), []).append(key)
            continue
        like = key
        if not comparator.is_exact:
            like = next((g for g in groups if comparator.equal(distinct[groups[g][0]], distinct[key])), key)
        groups.setdefault(like, []).append(key)
        if len(groups) > _MAX_LABELS:
            break
    return groups


def _refuse_unlike_labels(
    groups: Mapping[bytes, list[bytes]], counts: Counter[bytes], decision_field: str | None
) -> None:
    subject = decision_field or "the output"
    total = counts.total()
    sizes = [sum(counts[key] for key in keys) for keys in groups.values()]
    frequent = sum(size for size in sizes if size >= _FREQUENT)
    if len(groups) > _MAX_LABELS or frequent < _MIN_FREQUENT_SHARE * total:
        many = f"more than {_MAX_LABELS}" if len(groups) > _MAX_LABELS else str(len(groups))
        raise NotLabels(f"{subject} takes {many} different values in {total} samples: it is no label")
    if len(groups) < 2:
        raise NotLabels(f"{subject} is the same in all {total} samples: nothing tells inputs apart")


def _names(groups: Mapping[bytes, list[bytes]]) -> dict[bytes, str]:
    """A readable name per value: a string as it is, anything else as JSON (all as JSON if two would be alike)."""
    values = {value: strict_json.loads(value) for value in groups}
    names = {value: loaded if isinstance(loaded, str) else value.decode() for value, loaded in values.items()}
    return names if len(set(names.values())) == len(names) else {value: value.decode() for value in groups}


def _at(output: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(output, dict) or key not in output:
            return _ABSENT
        output = output[key]
    return output
