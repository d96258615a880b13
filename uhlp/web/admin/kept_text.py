"""Texts that people write and that git or the ledger keeps for ever: messages of commits, reasons of decisions."""

from typing import Annotated

from pydantic import AfterValidator, Field

from uhlp.registry.secret_scan import find_secrets


def _without_secret(text: str) -> str:
    for _, kind in find_secrets(text.encode()):
        raise ValueError(f"this looks like {kind}; the history keeps what is written here for ever")
    return text


KeptText = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S"), AfterValidator(_without_secret)]
