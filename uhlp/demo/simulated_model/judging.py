"""The simulated model as a judge of case summaries: it looks for what the notes say, in any of the model's wordings."""

import re
from typing import Any

from uhlp import strict_json
from uhlp.demo.simulated_model.tasks.case_summary import says_the_same
from uhlp.errors import MalformedJson

_COMPARES = "Two answers were given to one input."
_POINTS = "You give points to the answer of a program"
_BLOCK = re.compile(r"```json\n(.*?)\n```", re.DOTALL)


def asks_to_judge(prompt: str) -> bool:
    """Whether two answers are to be compared, or points to be given."""
    return prompt.startswith((_COMPARES, _POINTS))


def judged(prompt: str) -> str:
    """{"verdict"} or {"points"}. Of what is no summary it cannot tell more than whether two answers are alike."""
    data = prompt.partition("\n---\n")[2] if prompt.startswith(_COMPARES) else prompt
    try:
        values = [strict_json.loads(block.encode()) for block in _BLOCK.findall(data)]
    except MalformedJson:
        values = []
    if prompt.startswith(_COMPARES):
        words = {(True, True): "both", (True, False): "A", (False, True): "B", (False, False): "neither"}
        verdict = words[_is_right(values, 0, 1), _is_right(values, 0, 2)] if len(values) == 3 else "neither"
        return strict_json.dumps({"verdict": verdict, "why": "by what the notes say"}).decode()
    is_right = len(values) == 4 and (values[2] == values[3] or _is_right(values, 1, 3))
    return strict_json.dumps({"points": 10 if is_right else 0, "why": "by what the notes say"}).decode()


def _is_right(values: list[Any], notes: int, answer: int) -> bool:
    """Whether the answer at one place sums up the notes at another."""
    text, summary = _text(values[notes], "text"), _text(values[answer], "summary")
    return text is not None and summary is not None and says_the_same(text, summary)


def _text(value: Any, name: str) -> str | None:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None
