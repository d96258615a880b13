"""One gateway over model providers: usage, prices, budgets, retries, replay."""

from uhlp.llm.budgets import Budgets, EvolutionBudget
from uhlp.llm.config import LlmSettings
from uhlp.llm.gateway import ModelGateway
from uhlp.llm.generation import GenerateRequest, Generation, Message
from uhlp.llm.usage import UsageBook

__all__ = [
    "Budgets",
    "EvolutionBudget",
    "GenerateRequest",
    "Generation",
    "LlmSettings",
    "Message",
    "ModelGateway",
    "UsageBook",
]
