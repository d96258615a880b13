"""One gateway over model providers: usage, prices, budgets, retries, replay."""

from uhlp.llm.answer_cache import AnswerCache
from uhlp.llm.budgets import Budgets, EvolutionBudget
from uhlp.llm.cassette import CassetteRecorder
from uhlp.llm.config import LlmSettings
from uhlp.llm.gateway import ModelGateway
from uhlp.llm.generation import GenerateRequest, Generation, Message
from uhlp.llm.usage import UsageBook

__all__ = [
    "AnswerCache",
    "Budgets",
    "CassetteRecorder",
    "EvolutionBudget",
    "GenerateRequest",
    "Generation",
    "LlmSettings",
    "Message",
    "ModelGateway",
    "UsageBook",
]
