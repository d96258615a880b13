"""Shaping what a component returned into an HTTP response (contracts §4).

Everything a component says is untrusted: no header of its own can break out of the response, and nothing it sends
can act on the origin it shares with the panel and the administration.
"""

import base64
import binascii
from math import ceil
from typing import Any

from uhlp import strict_json
from uhlp.errors import OutputInvalid, UhlpError
from uhlp.routing.request import RoutedAnswer

Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
WALLS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", b"sandbox"),
    (b"x-content-type-options", b"nosniff"),
)
"""Path-routed answers share an origin with panel and admin, so they always carry these."""

JSON_WALLS: tuple[tuple[bytes, bytes], ...] = ((b"x-content-type-options", b"nosniff"),)
"""What the server says itself on an application's own host."""

_HANDLER_HEADERS = {name: (b"x-uhlp-handler", name.encode()) for name in ("llm", "jit", "workflow")}
_FRAMING = """connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer
    transfer-encoding upgrade content-length date server"""
_ACT_ON_THE_ORIGIN = """set-cookie set-cookie2 service-worker-allowed clear-site-data refresh strict-transport-security
    alt-svc nel report-to reporting-endpoints www-authenticate content-security-policy
    content-security-policy-report-only x-content-type-options origin-agent-cluster accept-ch critical-ch origin-trial
    permissions-policy speculation-rules supports-loading-mode timing-allow-origin use-as-dictionary x-sendfile
    set-login public-key-pins"""
_REFUSED_PREFIXES: tuple[str, ...] = (
    "x-uhlp-", "access-control-", "cross-origin-", "x-accel-", "x-lighttpd-", "x-litespeed-", "x-reproxy-",
    "x-forwarded-", "sec-", "proxy-",
)  # fmt: skip
"""The server's own words, the origin's walls, and orders to a proxy that stands before it."""

MOST_OWN_HEADERS = 100
MOST_OWN_HEADER_BYTES = 16 * 1024
_SAID_BY_UHLP = "x-trace-id server-timing"
_ORDERS_AND_DOMAIN_WIDE = "x-sendfile set-cookie2 alt-svc public-key-pins"
_REFUSED_HEADERS = frozenset(f"{_FRAMING} {_ACT_ON_THE_ORIGIN} {_SAID_BY_UHLP}".split())
_REFUSED_ON_OWN_HOST = frozenset(f"{_FRAMING} {_ORDERS_AND_DOMAIN_WIDE} {_SAID_BY_UHLP}".split())
_PREFIXES_REFUSED_ON_OWN_HOST = tuple(
    prefix for prefix in _REFUSED_PREFIXES if prefix not in ("access-control-", "cross-origin-")
)
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NO_BODY = frozenset({204, 205, 304})
_NO_LENGTH = frozenset({204, 304})
"""RFC 9110 §8.6: none with 204, and with 304 that of the answer which is not sent, which nobody knows here."""


def answer_response(
    answer: RoutedAnswer, trace_id: str, total_ms: float, *, most_bytes: int, is_own_host: bool = False
) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a component's answer. Raises OutputInvalid when it cannot be sent as HTTP, or has a
    body of more than `most_bytes`.

    On its application's own host an httpResponse has no walls but those it brings, and may set cookies of that host.
    """
    result = answer.result
    walls = WALLS if not is_own_host else () if result.result_type == "httpResponse" else JSON_WALLS
    headers: Headers = [
        *walls,
        (b"x-trace-id", trace_id.encode("ascii")),
        _HANDLER_HEADERS[answer.handler],
        (b"x-uhlp-implementation", answer.implementation.encode("latin-1", "replace")),
        (b"x-uhlp-reason", answer.reason.encode("ascii")),
        (b"server-timing", _server_timing(answer.timings, total_ms)),
    ]
    if answer.execution_id is not None:
        headers.append((b"x-execution-id", answer.execution_id.encode("ascii")))
    if answer.deoptimized is not None:
        headers.append((b"x-uhlp-deoptimized", answer.deoptimized.encode("ascii", "replace")))
    if result.result_type == "generic":
        status, body = 200, strict_json.dumps(result.data)
        headers.append(JSON_TYPE)
    elif result.result_type == "httpResponse":
        status, own_headers, body = _http_response(result.data, is_own_host)
        headers += own_headers
    elif result.result_type == "error":
        status, envelope = component_error(result.data, trace_id)
        body = strict_json.dumps(envelope)
        headers.append(JSON_TYPE)
    else:
        raise OutputInvalid(f"The component answered with the result type {result.result_type!r}.")
    if len(body) > most_bytes:
        raise OutputInvalid(
            f"The answer takes {len(body)} bytes; {most_bytes} is the limit.", details={"limitBytes": most_bytes}
        )
    if status not in _NO_LENGTH:
        headers.append((b"content-length", b"%d" % len(body)))
    return status, headers, body


def error_response(error: UhlpError, trace_id: str) -> tuple[int, Headers, bytes]:
    """The error envelope, with the headers that go with its status."""
    body = strict_json.dumps(error.envelope(trace_id))
    headers: Headers = [
        JSON_TYPE,
        (b"x-trace-id", trace_id.encode("ascii")),
        (b"content-length", b"%d" % len(body)),
    ]
    if isinstance(execution_id := error.details.get("executionId"), str):
        headers.append((b"x-execution-id", execution_id.encode("ascii", "replace")))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after_s))))
    elif error.retryable and error.status in (429, 502, 503, 504):
        headers.append((b"retry-after", b"1"))
    if error.status == 405:
        headers.append((b"allow", ", ".join(error.details.get("allow", ())).encode("ascii")))
    elif error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    elif error.status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body is not worth reading
    return error.status, headers, body


def _server_timing(timings: tuple[tuple[str, float], ...], total_ms: float) -> bytes:
    parts = [f"{name};dur={ms:.2f}" for name, ms in timings]
    parts.append(f"total;dur={total_ms:.2f}")
    return ", ".join(parts).encode("ascii", "replace")


def component_error(data: Any, trace_id: str) -> tuple[int, dict[str, Any]]:
    """Status and envelope of an error the component chose to answer: its own 4xx or 5xx `statusCode`, else 500."""
    told = data if isinstance(data, dict) else {}
    status = told.get("statusCode")
    if type(status) is not int or not 400 <= status <= 599:
        status = 500
    details = told.get("details")
    envelope = {
        "code": str(told.get("code") or "COMPONENT_ERROR"),
        "message": str(told.get("message") or "The component answered with an error."),
        "retryable": status in (429, 503, 504),
        "details": details if isinstance(details, dict) else {},
        "traceId": trace_id,
    }
    return status, {"error": envelope}


def _http_response(data: Any, is_own_host: bool) -> tuple[int, Headers, bytes]:
    if not isinstance(data, dict):
        raise OutputInvalid("An httpResponse must be an object with statusCode, headers and body.")
    status = data.get("statusCode", 200)
    if type(status) is not int or not 200 <= status <= 599:
        raise OutputInvalid(f"An httpResponse's statusCode must be from 200 to 599, not {status!r}.")
    own = data.get("headers", {})
    if not isinstance(own, dict):
        raise OutputInvalid("An httpResponse's headers must be an object.")
    headers = _own_headers(own, is_own_host)
    body = _http_body(data)
    if not isinstance(data.get("body"), str | None) and not any(name == b"content-type" for name, _ in headers):
        headers.append(JSON_TYPE)
    return status, headers, b"" if status in _NO_BODY else body


def _http_body(data: dict[str, Any]) -> bytes:
    body, encoding = data.get("body"), data.get("bodyEncoding", "utf8")
    if body is None:
        return b""
    if not isinstance(body, str):
        return strict_json.dumps(body)
    if encoding == "base64":
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise OutputInvalid("An httpResponse's body is not the base64 it claims to be.") from None
    if encoding != "utf8":
        raise OutputInvalid("An httpResponse's bodyEncoding must be utf8 or base64.")
    return body.encode("utf-8", "replace")


def _own_headers(given: dict[str, Any], is_own_host: bool) -> Headers:
    headers: Headers = []
    left = MOST_OWN_HEADER_BYTES
    for name, value in given.items():
        for pair in _safe_headers(name, value, is_own_host):
            headers.append(pair)
            left -= len(pair[0]) + len(pair[1]) + 4
            if left < 0 or len(headers) > MOST_OWN_HEADERS:
                limits = f"{MOST_OWN_HEADERS} headers and {MOST_OWN_HEADER_BYTES} bytes of them"
                raise OutputInvalid(f"An httpResponse may have at most {limits}.")
    return headers


def _safe_headers(name: str, value: Any, is_own_host: bool) -> Headers:
    """The header as it may leave, a list for several values; nothing where it may not."""
    lower = name.lower()
    refused, prefixes = _REFUSED_HEADERS, _REFUSED_PREFIXES
    if is_own_host:
        refused, prefixes = _REFUSED_ON_OWN_HOST, _PREFIXES_REFUSED_ON_OWN_HOST
    if not lower or not _TOKEN.issuperset(lower) or lower in refused or lower.startswith(prefixes):
        return []
    safe: Headers = []
    for one in value if isinstance(value, list) else [value]:
        text = one if isinstance(one, str) else strict_json.dumps(one).decode()
        if lower == "set-cookie" and _is_for_other_hosts(text):
            continue
        if all(character == "\t" or " " <= character <= "~" or "\xa0" <= character <= "\xff" for character in text):
            safe.append((lower.encode("ascii"), text.strip().encode("latin-1")))
    return safe


def _is_for_other_hosts(cookie: str) -> bool:
    """A cookie with a Domain reaches the panel and every other application below the base domain."""
    return any(attribute.partition("=")[0].strip().lower() == "domain" for attribute in cookie.split(";")[1:])
