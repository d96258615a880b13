"""LLM components: render the prompt, ask the model, one repair round.

The host reads the model's text and checks it against the schema, in bounded time: one slow text must not hold up the
other calls of this worker. An execution is a generator: it yields a tool call and is sent its result, so that one
worker holds any number in flight without threads.
"""

from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import orjson

from . import RunnerError, answers
from .answers import Answer
from .artifacts import Artifact
from .runtime import ToolFailed
from .templates import TemplateTooSlow, compiled

PROMPTS = 256
GENERATE = "core.llm.generate"
PROBLEMS = 5
PROMPT_CHARACTERS = 8 * 1024 * 1024
_LARGE_CHARACTERS = 64 * 1024
_RESERVE_BYTES = 64 * 1024 * 1024
"""What reading the largest frames takes at once; where memory runs out there, the whole worker ends."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What an execution waits for; `arguments` is an object, or one that has been written."""

    name: str
    arguments: Any


Execution = Generator[ToolCall, dict[str, Any], Answer]


class Unusable(RunnerError):
    """The model's text is not an answer; the message says why, in words the model can use."""


class Prompt:
    """A prompt artifact, ready to run: {template, outputFormat, outputSchema, examples, model, parameters}."""

    def __init__(self, artifact: Artifact) -> None:
        document = orjson.loads(artifact.text)
        self._render = compiled(document["template"])
        self._format: str = document.get("outputFormat") or "json"
        self._schema: dict[str, Any] | None = document.get("outputSchema")
        self._examples: list[dict[str, Any]] = list(document.get("examples") or ())
        self._model: str | None = document.get("model")
        self._parameters: dict[str, Any] = document.get("parameters") or {}

    def render(self, inputs: dict[str, Any], flags: dict[str, bool]) -> str:
        """The text for the model: the template over the input's fields (all of them as `input` too) and an experiment's
        `flags`, then the examples.

        Examples are appended as one block (`Input:` and `Output:` lines), not as few-shot messages: the template,
        often the longest part, is then paid for once.
        """
        text = self._render({"flags": flags, **inputs, "input": inputs})
        if len(text) > PROMPT_CHARACTERS:
            raise ToolFailed(
                "PAYLOAD_TOO_LARGE", f"The prompt has {len(text)} characters; the limit is {PROMPT_CHARACTERS}."
            )
        if not self._examples:
            return text
        blocks = [
            f"Input: {_compact(example.get('input'))}\nOutput: {_as_output(example.get('output'))}"
            for example in self._examples
        ]
        return text + "\n\nExamples:\n" + "\n\n".join(blocks)

    def arguments(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        """Arguments of core.llm.generate."""
        arguments = {"messages": messages, "parameters": self._parameters, "outputFormat": self._format}
        if self._model is not None:
            arguments["model"] = self._model
        if self._schema is not None:
            arguments["outputSchema"] = self._schema
        return arguments

    def value(self, generation: dict[str, Any]) -> Any:
        """The answer as a value, which the host has read and checked; raises Unusable."""
        if "parsed" in generation:
            return generation["parsed"]
        problems = generation.get("problems") or [{"path": "", "message": "It could not be read."}]
        named = [f"{each['path']}: {each['message']}" if each["path"] else each["message"] for each in problems]
        raise Unusable("; ".join(named[:PROBLEMS])[: answers.MESSAGE_LIMIT])

    def repair(self, messages: list[dict[str, str]], text: str, problem: Unusable) -> list[dict[str, str]]:
        """The conversation with what was wrong appended."""
        wanted = "the text" if self._format == "text" else self._format.upper()
        request = f"This answer cannot be used: {problem}. Answer again, with nothing but the corrected {wanted}."
        return [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": request}]


class LlmRunner:
    """Starts executions of prompts; templates are kept by content."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()
        self._reserve_bytes = min(_RESERVE_BYTES, answers.free_bytes() / 4)

    def start(self, artifact: Artifact, inputs: dict[str, Any], flags: dict[str, bool]) -> Execution:
        """One execution, not yet begun; `flags` are those of its experiment."""
        try:
            prompt = self._prompt(artifact)
            messages = [{"role": "user", "content": prompt.render(inputs, flags)}]
            del inputs  # it would be kept until the model has answered
            self._check_room(messages)
        except ToolFailed as failed:
            return answers.error(failed.code, failed.message)
        except MemoryError:
            return answers.error("SANDBOX_OUT_OF_MEMORY", "The prompt used more memory than its pool allows.")
        except TemplateTooSlow as failure:
            return answers.error("HANDLER_FAILED", f"The prompt takes too long: {failure}.")
        except Exception as failure:  # templates are the owner's code: anything may come out of them
            return answers.error(
                "HANDLER_FAILED", f"The prompt cannot be rendered: {type(failure).__name__}: {failure}"
            )
        try:
            generation = yield ToolCall(GENERATE, prompt.arguments(messages))
            try:
                return answers.generic(prompt.value(generation))
            except Unusable as problem:
                messages = prompt.repair(messages, _text_of(generation), problem)
                self._check_room(messages)
            return answers.generic(prompt.value((yield ToolCall(GENERATE, prompt.arguments(messages)))))
        except MemoryError:
            return answers.error("SANDBOX_OUT_OF_MEMORY", "The model's answer took more memory than the pool allows.")
        except Unusable as problem:
            return answers.error("BAD_MODEL_ANSWER", f"After one repair round: {problem}")
        except ToolFailed as failed:
            return answers.error(failed.code, failed.message, retryable=failed.retryable)
        except Exception as failure:  # for example a result of the tool that is not what it should be
            return answers.error("BAD_MODEL_ANSWER", f"{type(failure).__name__}: {failure}")

    def _check_room(self, messages: list[dict[str, str]]) -> None:
        """Raise MemoryError when prompts in flight have left too little to write this one and read what comes next."""
        longest = max(len(message["content"]) for message in messages)
        if longest > _LARGE_CHARACTERS:
            needed_bytes = longest * answers.CHARACTER_BYTES + self._reserve_bytes
            if answers.free_bytes() < needed_bytes:
                raise MemoryError

    def _prompt(self, artifact: Artifact) -> Prompt:
        prompt = self._prompts.get(artifact.sha256)
        if prompt is None:
            prompt = self._prompts[artifact.sha256] = Prompt(artifact)
            while len(self._prompts) > PROMPTS:
                self._prompts.popitem(last=False)
        return prompt


def _text_of(result: dict[str, Any]) -> str:
    text = result.get("text")
    if not isinstance(text, str):
        raise ToolFailed("BAD_MODEL_ANSWER", f"{GENERATE} answered without text")
    return text


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()


def _as_output(value: Any) -> str:
    return value if isinstance(value, str) else _compact(value)
