"""Answers from a recording, by exact input: for demonstrations, tests, and logs that a user already has."""

import asyncio
from pathlib import Path
from typing import Any

from uhlp import strict_json
from uhlp.errors import MalformedJson, NotRecorded, UhlpError, ValidationFailed
from uhlp.llm.cassette import call_digest
from uhlp.llm.config import ReplayProvider
from uhlp.llm.provider import ModelAnswer, ModelCall

DEFAULT_MODEL = "recorded"


class RecordedAnswers:
    """A provider that says what a JSONL file says. The file is read once, at the first call.

    A row that names its `call`, as cassettes do, answers that call; the model asked comes first, then any. Any other
    row answers its input, which is looked up by its canonical JSON: the order of keys and 1.0 or 1 do not matter. With
    an `input_field` of its own (`text`), a row stands for both the field's value and an object of that one field. Of
    equal rows the first counts. An output that is not text is answered as JSON.
    """

    def __init__(self, *, name: str, settings: ReplayProvider) -> None:
        self.name = name
        self.default_model = settings.default_model or next(iter(settings.models), DEFAULT_MODEL)
        self.price_url: str | None = None
        self._settings = settings
        self._recording: _Recording | None = None
        self._reading = asyncio.Lock()

    async def complete(self, call: ModelCall) -> ModelAnswer:
        async with self._reading:
            if self._recording is None:
                self._recording = await asyncio.to_thread(self._read)
        answer = self._recording.answer(call)
        if answer is None:
            raise NotRecorded(
                f"The recording {self._settings.path.name} of '{self.name}' has no such input "
                f"among its {len(self._recording)}.",
                details={"provider": self.name},
            )
        return answer

    def _read(self) -> "_Recording":
        settings = self._settings
        recording = _Recording()
        for number, line in enumerate(self._lines(settings.path), start=1):
            if not line.strip():
                continue
            try:
                row = strict_json.loads(line)
                recorded, output = row[settings.input_field], row[settings.output_field]
            except (MalformedJson, LookupError, TypeError) as error:
                raise self._unusable(
                    f"line {number} is no JSON object with {settings.input_field!r} and {settings.output_field!r}"
                ) from error
            answer = _answer(row, output)
            if isinstance(row.get("call"), str):
                recording.calls.setdefault((row["call"], str(row.get("model"))), answer)
                recording.calls.setdefault((row["call"], ""), answer)
                continue
            recording.inputs.setdefault(strict_json.canonical(recorded), answer)
            if settings.input_field != "input":
                recording.inputs.setdefault(strict_json.canonical({settings.input_field: recorded}), answer)
        return recording

    def _lines(self, path: Path) -> list[bytes]:
        try:
            return path.read_bytes().splitlines()
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None

    def _unusable(self, reason: str) -> UhlpError:
        return ValidationFailed(f"The recording {self._settings.path} of '{self.name}' cannot be used: {reason}.")


class _Recording:
    """Answers by call (digest and model, and by digest alone under no model) and by input."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], ModelAnswer] = {}
        self.inputs: dict[bytes, ModelAnswer] = {}

    def __len__(self) -> int:
        return len(self.inputs) + sum(model == "" for _, model in self.calls)

    def answer(self, call: ModelCall) -> ModelAnswer | None:
        found = None
        if self.calls:
            digest = call_digest(call)
            found = self.calls.get((digest, call.model)) or self.calls.get((digest, ""))
        return found or (self.inputs.get(strict_json.canonical(call.replay_input)) if self.inputs else None)


def _answer(row: dict[str, Any], output: Any) -> ModelAnswer:
    tokens_in, tokens_out = _count(row.get("tokens_in")), _count(row.get("tokens_out"))
    return ModelAnswer(
        text=output if isinstance(output, str) else strict_json.dumps(output).decode(),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        usage_source="recorded",
        cost_usd=_amount(row.get("cost_usd")),
        latency_ms=_amount(row.get("latency_ms")),
        is_truncated=row.get("truncated") is True,
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _amount(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and value >= 0 else None
