"""Metrics in and out: POST /record (seed 001) and GET /metrics."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from uhlp.errors import ValidationFailed
from uhlp.metrics import TEXT_TYPE, Form, Writer
from uhlp.models.metric import MetricRecord
from uhlp.web.admin.access import ServicesDep

router = APIRouter(tags=["metrics"])

_RECORD = MetricRecord.model_json_schema()
_ONE_OR_MANY = {"anyOf": [_RECORD, {"type": "array", "items": _RECORD}]}
_BODY_DOCUMENTED = {"requestBody": {"required": True, "content": {"application/json": {"schema": _ONE_OR_MANY}}}}


@router.post("/record", status_code=202, openapi_extra=_BODY_DOCUMENTED)
async def record(body: Annotated[Any, Body()], services: ServicesDep) -> dict[str, int]:
    """One measurement or a list of them; a list is taken whole or not at all, and a 422 names the index.

    In production the admin token or an application's key is asked for.
    """
    if isinstance(body, list):
        records = body
    elif isinstance(body, dict):
        records = [body]
    else:
        raise ValidationFailed("Send one metric record as a JSON object, or a list of them.")
    writer = Writer(applications=frozenset(services.registry.app_ids()))
    return {"accepted": await services.metrics.record_many(records, writer=writer)}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(services: ServicesDep) -> Response:
    """Everything that is counted, as Prometheus text."""
    return Response(b"".join(await services.metrics.latest(Form())), media_type=TEXT_TYPE)
