"""Notes that customers leave with an order: what they ask for first, by plain words."""

import re
from typing import Any

from uhlp.demo.simulated_model.tasks.task import Dice, Task

HANDLINGS = ("express", "fragile", "gift", "standard")

_WORDS = {
    "express": r"urgent(?:ly)?|hurry|tomorrow|express|asap|soon|deadline|tonight",
    "fragile": r"fragile|glass|break(?:s|able)?|porcelain|careful(?:ly)?|ceramic",
    "gift": r"gift|present|birthday|wedding|wrap(?:ped|ping)?|surprise",
}
_PATTERNS = [(handling, re.compile(rf"\b(?:{words})\b", re.IGNORECASE)) for handling, words in _WORDS.items()]


def answer(text: str, dice: Dice) -> dict[str, Any]:
    """{"handling"}: of what the note asks for, the first in the order of HANDLINGS."""
    return {"handling": next((handling for handling, words in _PATTERNS if words.search(text)), "standard")}


def distort(value: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """Another handling."""
    return {"handling": dice.choice([one for one in HANDLINGS if one != value["handling"]])}


TASK = Task("read-note", "the note that a customer left with an order", "\nNote:", answer, distort)
