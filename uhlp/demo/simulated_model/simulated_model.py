"""SimulatedModel: from a conversation to an answer, without a network. The same seed gives the same answers."""

import hashlib
import math
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from uhlp import strict_json
from uhlp.demo.simulated_model.coder import is_specification, write_handler
from uhlp.demo.simulated_model.fallback import made_up_answer
from uhlp.demo.simulated_model.faults import WITHOUT_TEXT, Faults
from uhlp.demo.simulated_model.judging import asks_to_judge, judged
from uhlp.demo.simulated_model.shortening import asks_to_shorten, shortened
from uhlp.demo.simulated_model.tasks import task_of

TASK_MODEL = "simulated-small"
CODER_MODEL = "simulated-coder"
MODELS = (TASK_MODEL, CODER_MODEL)

CHARACTERS_PER_TOKEN = 4
LATENCY_SPREAD = 0.35
"""Standard deviation of the logarithm of latency: the 95th percentile is 1.8 times the median."""

TOKEN_SHARE_OF_LATENCY = 1 / 200
"""What one token of the answer adds, as a share of the median latency."""

_MOST_REMEMBERED = 200_000


@dataclass(frozen=True, slots=True)
class Question:
    """One call on either wire. `max_tokens` None sets no limit."""

    model: str
    messages: tuple[tuple[str, str], ...]
    response_format: Any = None
    max_tokens: int | None = None

    @property
    def prompt(self) -> str:
        """The user's first message."""
        return next((content for role, content in self.messages if role == "user"), "")


def played_by(question: Question) -> str:
    """The simulated model that answers: the one that is named, else the one that suits.

    For other names that is the coder when the name says `coder` or a handler is asked for, the small model otherwise.
    """
    if question.model in MODELS:
        return question.model
    return CODER_MODEL if "coder" in question.model.lower() or is_specification(question.prompt) else TASK_MODEL


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be sent, after `latency_s`. `fault` is one of faults.KINDS; `text` is then not always complete."""

    text: str
    tokens_in: int
    tokens_out: int
    latency_s: float
    is_truncated: bool = False
    fault: str | None = None


class SimulatedModel:
    """Answers by the tasks it knows, writes handlers when it is the coder, and makes something up for the rest.

    seed: with the prompt and how often it was asked, it decides latency, wording, noise and faults. latency_ms: median,
    0 for none. noise: share of task answers that are replaced by a plausible other one. `faults` may be changed.
    """

    def __init__(
        self, *, seed: int = 1, latency_ms: float = 0.0, noise: float = 0.0, faults: Faults | None = None
    ) -> None:
        self._seed = seed
        self._latency_ms = latency_ms
        self._noise = noise
        self.faults = faults or Faults()
        self._asked: OrderedDict[bytes, int] = OrderedDict()

    async def reply(self, question: Question) -> Reply:
        """The answer to this ask of a question; asking again may differ as models do."""
        digest = hashlib.blake2b(repr((question.model, question.messages)).encode(), digest_size=16).digest()
        ask = f"{self._seed}/{digest.hex()}/{self._nth_ask(digest)}"
        manner, dice = random.Random(f"manner/{ask}"), random.Random(ask)  # noqa: S311  simulation, no secret
        tokens_in = sum(token_count(content) for _, content in question.messages)
        fault = self.faults.draw(manner)
        if fault in WITHOUT_TEXT:
            return Reply("", tokens_in, 0, 0.0, fault=fault)
        text = await self._text(question, dice, is_noisy=manner.random() < self._noise)
        tokens_out = token_count(text)
        is_truncated = question.max_tokens is not None and tokens_out > question.max_tokens
        if is_truncated:
            tokens_out = question.max_tokens or 0
            text = text[: tokens_out * CHARACTERS_PER_TOKEN]
        if fault == "mangled":
            text = text[: len(text) // 2]
        elif fault == "schema":
            text = '{"simulated": "an answer of no schema"}'
        return Reply(text, tokens_in, tokens_out, self._latency_s(manner, tokens_out), is_truncated, fault)

    async def _text(self, question: Question, dice: random.Random, *, is_noisy: bool) -> str:
        prompt = question.prompt
        if is_specification(prompt):
            if question.model == CODER_MODEL:
                return await write_handler(prompt)
            return f"This simulated model writes no handlers; ask {CODER_MODEL}."
        if asks_to_shorten(prompt):
            return shortened(prompt)
        if asks_to_judge(prompt):
            return judged(prompt)
        task = task_of(prompt)
        if task is None:
            return made_up_answer(prompt, question.response_format, seed=self._seed)
        value = task.answer(task.users_text(prompt), dice)
        return strict_json.dumps(task.distort(value, dice) if is_noisy else value).decode()

    def _latency_s(self, manner: random.Random, tokens_out: int) -> float:
        if self._latency_ms <= 0:
            return 0.0
        whole_ms = self._latency_ms * math.exp(LATENCY_SPREAD * manner.gauss(0, 1))
        return (whole_ms + tokens_out * TOKEN_SHARE_OF_LATENCY * self._latency_ms) / 1000

    def _nth_ask(self, digest: bytes) -> int:
        count = self._asked.pop(digest, 0) + 1
        self._asked[digest] = count
        if len(self._asked) > _MOST_REMEMBERED:
            self._asked.popitem(last=False)
        return count


def token_count(text: str) -> int:
    """About four characters make a token."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
