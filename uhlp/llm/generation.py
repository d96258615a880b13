"""What is asked of a model, and what comes back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict


class Message(TypedDict):
    """One turn of the conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One question to a model. What is None comes from the settings.

    `parameters` go to the provider as they are (`temperature`, `max_tokens`, …). `replay_input` is what a recording
    is searched for: the component's input. `headers` go out beside the provider's own: the caller's trace. `fallbacks`
    are asked in this order where the first choice is down; each is a `provider/model`, a provider, or a model of the
    default provider; None: the settings'.
    """

    messages: tuple[Message, ...]
    model: str | None = None
    provider: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    replay_input: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    fallbacks: tuple[str, ...] | None = ()


UsageSource = Literal["provider", "recorded", "estimated"]
"""Who says how many tokens it took; an estimate counts four bytes of text as one token."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A model's answer. `cost_usd` is None when no price is known: unknown is not free.

    `latency_ms` covers retries too; for a recorded call it is the recorded one where the recording has it.
    `is_truncated` says the answer stops at the token limit.
    """

    text: str
    model: str
    provider: str
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    latency_ms: float
    usage_source: UsageSource = "provider"
    is_truncated: bool = False
