"""Older spellings of conditions (seeds 000 and 003: `latency > 1s AND count > 10/min`) and what they are in CEL."""

import re

_MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000}
_PER_MINUTE = {"s": 60, "sec": 60, "min": 1, "m": 1, "h": 1 / 60}

_FRAME = re.compile(r"^\s*if\b|\bthen\b.*$", re.IGNORECASE | re.DOTALL)
_WORDS = {"and": "&&", "or": "||"}
_WORD = re.compile(r"\b(and|or)\b", re.IGNORECASE)
_LATENCY = re.compile(r"\b(?:(avg|p50|p95|p99|max)_)?latency(?:_(avg|p50|p95|p99|max))?\b(?!_ms)", re.IGNORECASE)
_CALL_RATE = re.compile(
    r"\b(?:count|calls|requests|call_frequency)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*/\s*(sec|min|s|m|h)\b", re.IGNORECASE
)
_CALL_COUNT = re.compile(r"\b(?:count|calls|requests)\b(?=\s*[<>=])", re.IGNORECASE)
_DURATION = re.compile(r"\b(\d+(?:\.\d+)?)\s*(us|ms|min|s|m|h)\b")


def in_cel(source: str) -> str | None:
    """`source` with the older spellings replaced by CEL ones; None when it holds none of them."""
    text = _FRAME.sub("", source)
    text = _CALL_RATE.sub(lambda m: f"calls_per_min {m[1]} {_number(float(m[2]) * _PER_MINUTE[m[3].lower()])}", text)
    text = _DURATION.sub(lambda m: _number(float(m[1]) * _MILLISECONDS[m[2]]), text)
    text = _LATENCY.sub(lambda m: f"{(m[1] or m[2] or 'avg').lower()}(latency_ms)", text)
    text = _CALL_COUNT.sub("count(requests)", text)
    text = _WORD.sub(lambda m: _WORDS[m[1].lower()], text).strip()
    return text if text != source.strip() else None


def _number(value: float) -> str:
    return f"{value:.10g}"
