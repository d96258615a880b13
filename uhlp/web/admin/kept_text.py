"""Texts that people write and that git or the ledger keeps for ever: messages and authors of commits, reasons of
decisions."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from uhlp.registry.secret_scan import find_secrets

_AUTHOR = re.compile(r"[^\x00-\x1f\x7f-\x9f<>]*(<[^\x00-\x20\x7f-\x9f<>]+>)?")


def _without_secret(text: str) -> str:
    for _, kind in find_secrets(text.encode()):
        raise ValueError(f"this looks like {kind}; the history keeps what is written here for ever")
    return text


KeptText = Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S"), AfterValidator(_without_secret)]


def _of_one_line(author: str) -> str:
    if not _AUTHOR.fullmatch(author):
        raise ValueError("an author is one line: a name, or `Ann Example <ann@example.org>`")
    return author


Author = Annotated[str, Field(max_length=200), AfterValidator(_of_one_line), AfterValidator(_without_secret)]
