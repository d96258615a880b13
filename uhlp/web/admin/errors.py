"""FastAPI's own refusals in UHLP's words, and the envelope as OpenAPI documents it."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from uhlp.errors import (
    BadInput,
    Conflict,
    DeadlineExceeded,
    ExecutionFailed,
    InternalError,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PermissionDenied,
    TooManyRequests,
    UhlpError,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)
from uhlp.web.answers import error_response


class ErrorBody(BaseModel):
    code: str = Field(examples=["REVISION_CONFLICT"])
    message: str
    retryable: bool
    details: dict[str, Any]
    trace_id: str | None = Field(alias="traceId")


class ErrorEnvelope(BaseModel):
    """What every error answers with."""

    error: ErrorBody


_STATUSES: tuple[type[UhlpError], ...] = (
    BadInput,
    Unauthorized,
    PermissionDenied,
    NotFound,
    MethodNotAllowed,
    Conflict,
    PayloadTooLarge,
    ValidationFailed,
    TooManyRequests,
    InternalError,
    ExecutionFailed,
    Unavailable,
    DeadlineExceeded,
)
_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorEnvelope"}}}
ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    leaf.status: {"description": (leaf.__doc__ or "").strip(), "content": _CONTENT} for leaf in _STATUSES
}
"""Statuses any route of the lane may answer with. Of a model FastAPI would make a validator for each route and status,
while the first request waits."""

_BY_STATUS = {leaf.status: leaf for leaf in _STATUSES}


def envelope_schemas() -> dict[str, Any]:
    """What ERROR_RESPONSES refers to, by name."""
    schema = ErrorEnvelope.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "ErrorEnvelope": schema}


def install_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every refusal with the envelope."""

    @app.exception_handler(UhlpError)
    async def _uhlp(request: Request, error: UhlpError) -> Response:
        return _respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        problems = [{"path": _pointer(one["loc"]), "message": one["msg"]} for one in error.errors()]
        return _respond(request, ValidationFailed(_summary(request, problems), details={"problems": problems}))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        leaf = _BY_STATUS.get(error.status_code, BadInput if error.status_code < 500 else InternalError)
        return _respond(request, leaf(details={"allow": _methods_of(request)} if error.status_code == 405 else None))

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> Response:
        return _respond(request, InternalError())  # the lane logs it


def _methods_of(request: Request) -> list[str]:
    """The methods of every route at a request's path; the framework names those of the first one only."""
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.router.routes
        )
    ]


def _respond(request: Request, error: UhlpError) -> Response:
    status, headers, body = error_response(error, request.state.trace_id)
    response = Response(content=body, status_code=status)
    response.raw_headers = list(headers)
    return response


def _pointer(location: tuple[str | int, ...]) -> str:
    """`("body", "definition", "appId")` as `/definition/appId`; other places keep their name: `query/limit`."""
    where, *path = location or ("body",)
    pointer = "".join(f"/{part}" for part in path)
    return pointer if where == "body" else f"{where}{pointer}"


def _summary(request: Request, problems: list[dict[str, str]]) -> str:
    if request.method in ("POST", "PUT", "PATCH") and "json" not in request.headers.get("content-type", ""):
        return "The request is not valid: send its body as JSON, with Content-Type: application/json."
    first = problems[0] if problems else {"path": "", "message": "unknown"}
    return f"The request is not valid: {first['path'] or 'body'}: {first['message']}."
