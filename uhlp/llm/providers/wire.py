"""What the HTTP wires share: reading an answer, and telling its failures apart."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from uhlp import strict_json
from uhlp.errors import BadModelAnswer, MalformedJson, ModelProviderUnavailable, ModelRequestRefused, ValidationFailed
from uhlp.llm.provider import HttpAnswer

RESERVED_PARAMETERS = frozenset({"model", "messages", "stream", "system"})
MAX_RETRY_AFTER_S = 3600.0
_TRANSIENT = frozenset({408, 409, 425, 429})
_LONGEST_MESSAGE = 300
_MOST_TOKENS = 1_000_000_000


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that would change what is asked rather than how."""
    taken = sorted(RESERVED_PARAMETERS & parameters.keys())
    if taken:
        raise ValidationFailed(
            f"`{taken[0]}` cannot be given as a model parameter.",
            details={"problems": [{"path": f"/parameters/{name}", "message": "is reserved"} for name in taken]},
        )


def read_answer(answer: HttpAnswer, *, provider: str, api_key: str, now: float) -> dict[str, Any]:
    """The JSON object of a good answer; `now` in seconds since the epoch turns a Retry-After date into a wait."""
    body = _json_object(answer.body)
    if 200 <= answer.status < 300:
        if body is None:
            raise BadModelAnswer(f"Model provider '{provider}' answered something that is not a JSON object.")
        if isinstance(body.get("error"), dict):
            raise BadModelAnswer(f"Model provider '{provider}' answered an error{_reason(body, api_key)}.")
        return body
    reason = _reason(body or {}, api_key)
    details = {"provider": provider, "status": answer.status}
    if answer.status in (401, 403):
        raise ModelRequestRefused(
            f"Model provider '{provider}' refuses its API key ({answer.status}); check its api_key in llm.providers.",
            details=details,
        )
    if (answer.status in _TRANSIENT or answer.status >= 500) and not _quota_is_used_up(body):
        raise ModelProviderUnavailable(
            f"Model provider '{provider}' answered {answer.status}{reason}.",
            details=details,
            retry_after_s=_retry_after_s(answer.retry_after, now),
        )
    raise ModelRequestRefused(
        f"Model provider '{provider}' refuses the request ({answer.status}){reason}.", details=details
    )


def without_text(provider: str, why: str, *, tokens_in: int | None, tokens_out: int | None) -> ModelRequestRefused:
    """The error for an answer that holds no text: it is paid like any other, so it says what it took."""
    usage = {"tokensIn": tokens_in or 0, "tokensOut": tokens_out or 0}
    return ModelRequestRefused(f"The model of '{provider}' gave no text ({why}).", details={"usage": usage})


def token_count(usage: Any, field: str) -> int | None:
    """A count of tokens from an answer's `usage`, None when it is absent or no count."""
    count = usage.get(field) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count <= _MOST_TOKENS else None


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = strict_json.loads(body)
    except MalformedJson:
        return None
    return value if isinstance(value, dict) else None


def _reason(body: Mapping[str, Any], api_key: str) -> str:
    """The provider's own words, short and without the key; empty when it gave none."""
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str) or not message.strip():
        return ""
    if api_key:
        message = message.replace(api_key, "***")
    message = " ".join(message.split()).rstrip(".")
    return ": " + (message if len(message) <= _LONGEST_MESSAGE else message[:_LONGEST_MESSAGE] + "…")


def _quota_is_used_up(body: Mapping[str, Any] | None) -> bool:
    error = (body or {}).get("error")
    return isinstance(error, dict) and error.get("code") == "insufficient_quota"


def _retry_after_s(header: str | None, now: float) -> float | None:
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now
        except ValueError:
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if seconds == seconds else None
