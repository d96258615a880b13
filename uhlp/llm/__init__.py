"""One gateway over model providers: usage, prices, retries, replay."""

from uhlp.llm.config import LlmSettings
from uhlp.llm.gateway import ModelGateway
from uhlp.llm.generation import GenerateRequest, Generation, Message

__all__ = ["GenerateRequest", "Generation", "LlmSettings", "Message", "ModelGateway"]
