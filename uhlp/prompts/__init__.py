"""Prompt templates: read, checked and cut into sections (contracts §3)."""

from uhlp.prompts.prompt import Prompt, Section, parse_prompt

__all__ = ["Prompt", "Section", "parse_prompt"]
