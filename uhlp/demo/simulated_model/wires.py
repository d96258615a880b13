"""The two wires: OpenAI's chat completions and Anthropic's messages, as far as a client without streaming sees them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from uhlp.demo.simulated_model.simulated_model import Question, Reply

Json = dict[str, Any]


class BadQuestion(Exception):
    """The request is not one of this wire; the text says why."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How one provider's requests are read, and how answers and errors are written."""

    path: str
    question: Callable[[Json], Question]
    answer: Callable[[Question, Reply, int], Json]
    error: Callable[[int, str], Json]


def _messages(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    given = body.get("messages")
    if not isinstance(given, list) or not given or not all(isinstance(message, dict) for message in given):
        raise BadQuestion("`messages` must be a list of messages")
    if body.get("stream"):
        raise BadQuestion("streaming is not simulated")
    return tuple((str(message.get("role")), _content(message.get("content"))) for message in given)


def _content(content: Any) -> str:
    """The text of a message, given whole or in parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    raise BadQuestion("the `content` of a message must be text")


def _limit(body: Mapping[str, Any], *names: str) -> int | None:
    given = next((body[name] for name in names if body.get(name) is not None), None)
    if given is not None and (type(given) is not int or given < 1):
        raise BadQuestion(f"`{names[0]}` must be a positive integer")
    return given


def _openai_question(body: Json) -> Question:
    limit = _limit(body, "max_tokens", "max_completion_tokens")
    return Question(str(body.get("model")), _messages(body), body.get("response_format"), limit)


def _openai_answer(question: Question, reply: Reply, now: int) -> Json:
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": now,
        "model": question.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text},
                "finish_reason": "length" if reply.is_truncated else "stop",
            }
        ],
        "usage": {
            "prompt_tokens": reply.tokens_in,
            "completion_tokens": reply.tokens_out,
            "total_tokens": reply.tokens_in + reply.tokens_out,
        },
    }


def _openai_error(status: int, message: str) -> Json:
    return {"error": {"message": message, "type": "simulated_error", "param": None, "code": str(status)}}


def _anthropic_question(body: Json) -> Question:
    limit = _limit(body, "max_tokens")
    if limit is None:
        raise BadQuestion("`max_tokens` is required")
    system = body.get("system")
    first = ((("system", _content(system)),)) if system else ()
    return Question(str(body.get("model")), (*first, *_messages(body)), None, limit)


def _anthropic_answer(question: Question, reply: Reply, now: int) -> Json:
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": question.model,
        "content": [{"type": "text", "text": reply.text}],
        "stop_reason": "max_tokens" if reply.is_truncated else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": reply.tokens_in, "output_tokens": reply.tokens_out},
    }


def _anthropic_error(status: int, message: str) -> Json:
    kinds = {400: "invalid_request_error", 404: "not_found_error", 429: "rate_limit_error"}
    return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": message}}


OPENAI = Wire("/v1/chat/completions", _openai_question, _openai_answer, _openai_error)
ANTHROPIC = Wire("/v1/messages", _anthropic_question, _anthropic_answer, _anthropic_error)
