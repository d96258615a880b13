"""Shapes of results (contracts §4): what `expectedResultFormat` asks of the data that an implementation returns."""

from typing import Any

_BODY_ENCODINGS = ("utf8", "base64")


def format_problems(result_format: str, data: Any) -> list[dict[str, str]]:
    """What keeps `data` from being a result of this format, as {path, message}; empty when nothing does."""
    if result_format == "httpResponse":
        return _http_response_problems(data)
    if result_format == "error":
        return _error_problems(data)
    return []


def _http_response_problems(data: Any) -> list[dict[str, str]]:
    if not isinstance(data, dict):
        return [_problem("", "an httpResponse is an object {statusCode, headers, body, bodyEncoding}")]
    problems = _unknown_fields(data, {"statusCode", "headers", "body", "bodyEncoding"})
    status = data.get("statusCode")
    if type(status) is not int or not 200 <= status <= 599:
        problems.append(_problem("/statusCode", "must be an integer from 200 to 599"))
    headers = data.get("headers", {})
    if not isinstance(headers, dict) or not all(
        isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))
        for value in headers.values()
    ):
        problems.append(_problem("/headers", "must be an object of strings or lists of strings"))
    encoding = data.get("bodyEncoding", "utf8")
    if encoding not in _BODY_ENCODINGS:
        problems.append(_problem("/bodyEncoding", "must be utf8 or base64"))
    elif encoding == "base64" and not isinstance(data.get("body"), str):
        problems.append(_problem("/body", "must be a string when bodyEncoding is base64"))
    return problems


def _error_problems(data: Any) -> list[dict[str, str]]:
    if not isinstance(data, dict):
        return [_problem("", "an error is an object {code, message, details}")]
    problems = _unknown_fields(data, {"code", "message", "details"})
    problems += [
        _problem(f"/{name}", "must be a string that is not empty")
        for name in ("code", "message")
        if not isinstance(data.get(name), str) or not data[name]
    ]
    if not isinstance(data.get("details", {}), dict):
        problems.append(_problem("/details", "must be an object"))
    return problems


def _unknown_fields(data: dict[str, Any], known: set[str]) -> list[dict[str, str]]:
    return [_problem(f"/{name}", "is not a field of this format") for name in data if name not in known][:20]


def _problem(path: str, message: str) -> dict[str, str]:
    return {"path": path, "message": message}
