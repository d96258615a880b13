"""Metrics in and out: POST /record (seed 001) and GET /metrics."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from uhlp.errors import ValidationFailed
from uhlp.metrics import METRICS_CONTENT_TYPE
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
    applications = frozenset(services.registry.app_ids())
    return {"accepted": await services.metrics.record_many(records, applications=applications)}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(services: ServicesDep) -> Response:
    """Everything that is counted, as Prometheus text."""
    return Response(await services.metrics.latest(), media_type=METRICS_CONTENT_TYPE)
