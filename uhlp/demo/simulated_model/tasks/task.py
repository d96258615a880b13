"""What a task of the simulated model is made of."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Dice = random.Random


@dataclass(frozen=True, slots=True)
class Task:
    """One thing the simulated model can do.

    phrase: a prompt that contains it asks for this task. marker: the user's text follows its first occurrence, to the
    end. answer: the value a good model gives for that text; `dice` differ from ask to ask, so an answer that uses them
    does too. distort: a plausible other answer, for noise.
    """

    name: str
    phrase: str
    marker: str
    answer: Callable[[str, Dice], Any]
    distort: Callable[[Any, Dice], Any]

    def users_text(self, prompt: str) -> str:
        """The user's part of a rendered prompt."""
        return prompt.partition(self.marker)[2].strip()
