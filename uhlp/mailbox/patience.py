"""Patience: how long a cycle waits for messages."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from uhlp.errors import MailboxUnavailable


class Patience:
    """A cycle waits up to `longest_s` seconds; after an outage it looks only, so that the loop that repeats it hears at
    once that the mailbox is back. Loops that share it are told apart by their tasks.
    """

    def __init__(self, longest_s: float = 20.0) -> None:
        self._longest_s = longest_s
        self._in_doubt: WeakSet[asyncio.Task[Any]] = WeakSet()

    @contextmanager
    def wait_s(self) -> Iterator[float]:
        """The seconds to wait in the cycle that runs inside."""
        loop = asyncio.current_task()
        assert loop is not None  # noqa: S101
        try:
            yield 0.0 if loop in self._in_doubt else self._longest_s
        except MailboxUnavailable:
            self._in_doubt.add(loop)
            raise
        self._in_doubt.discard(loop)
