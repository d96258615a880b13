"""Cassettes: recorded model calls, a JSON line each, that a provider of `kind: replay` plays.

A line names its call by a digest of messages and parameters. It holds the component's input for people and for
`uhlp traffic import`, and nothing that looks like a credential: that is masked in what is written.
"""

import asyncio
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from uhlp import strict_json
from uhlp.llm.generation import Generation
from uhlp.llm.provider import ModelCall
from uhlp.registry.secret_scan import MASK, masked

_MOST_WAITING = 10_000
_SHORTEST_SECRET = 12

log = structlog.get_logger(__name__)


def call_digest(call: ModelCall) -> str:
    """The same for calls of the same messages and parameters, whichever provider and model are asked."""
    asked = {"messages": list(call.messages), "parameters": dict(call.parameters)}
    return hashlib.sha256(strict_json.canonical(asked)).hexdigest()


class CassetteRecorder:
    """Appends to one file, readable by its owner alone; `run_cycle` writes what was noted. What cannot be written is
    lost and told of: recording is for rehearsals, and stops no request."""

    def __init__(self, *, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._secrets: list[str] = []
        self._waiting: list[tuple[ModelCall, Generation]] = []
        self._trouble = ""

    def hide(self, secret: str) -> None:
        """Mask `secret`, too, wherever it stands. A word that stands in for a key, as local models take any, is none:
        masking it would spoil answers that hold the word."""
        if len(secret) >= _SHORTEST_SECRET:
            self._secrets.append(secret)

    def note(self, call: ModelCall, generation: Generation) -> None:
        """Remember an answered call until the next cycle. Never waits."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append((call, generation))

    async def run_cycle(self) -> None:
        """Write what was noted since the last cycle."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            trouble = await asyncio.to_thread(self._append, waiting)
            if trouble and trouble != self._trouble:
                log.warning("model_calls_not_recorded", path=str(self._path), why=trouble)
            self._trouble = trouble

    def _append(self, calls: Iterable[tuple[ModelCall, Generation]]) -> str:
        """Why nothing was written; empty when all was."""
        lines = b"".join(strict_json.dumps(self._clean(_row(*one))) + b"\n" for one in calls)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            return error.strerror or str(error)
        try:
            size = os.fstat(file).st_size
            if size + len(lines) > self._most_bytes:
                return f"it would be larger than llm.record_bytes, {self._most_bytes}"
            if os.write(file, lines) != len(lines):
                os.ftruncate(file, size)
                return "the disk is full"
        except OSError as error:
            return error.strerror or str(error)
        finally:
            os.close(file)
        return ""

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
            return masked(value)
        if isinstance(value, dict):
            return {self._clean(name): self._clean(inner) for name, inner in value.items()}
        return [self._clean(inner) for inner in value] if isinstance(value, list) else value


def _row(call: ModelCall, generation: Generation) -> dict[str, Any]:
    return {
        "call": call_digest(call),
        "input": call.replay_input,
        "output": generation.text,
        "provider": generation.provider,
        "model": generation.model,
        "tokens_in": generation.tokens_in,
        "tokens_out": generation.tokens_out,
        "cost_usd": generation.cost_usd,
        "latency_ms": round(generation.latency_ms, 3),
        "truncated": generation.is_truncated,
    }
