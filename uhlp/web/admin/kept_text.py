"""Texts that people write and that git or the ledger keeps for ever: messages and authors of commits, reasons of
decisions."""

from typing import Annotated

from pydantic import AfterValidator, Field

from uhlp.registry.secret_scan import find_secrets


def _without_secret(text: str) -> str:
    for _, kind in find_secrets(text.encode()):
        raise ValueError(f"this looks like {kind}; the history keeps what is written here for ever")
    return text


KeptText = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S"), AfterValidator(_without_secret)]

Author = Annotated[
    str,
    Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f<>]*(<[^\x00-\x20\x7f-\x9f<>]+>)?$"),
    AfterValidator(_without_secret),
]
"""`Ann Example <ann@example.org>`, or a name alone."""
