"""Metrics in and out: POST /record (seed 001) and GET /metrics."""

import asyncio
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
    """One measurement or a list of them; a list is taken whole or not at all, and a 422 names the index."""
    if isinstance(body, list):
        return {"accepted": await services.metrics.record_many(body)}
    if not isinstance(body, dict):
        raise ValidationFailed("Send one metric record as a JSON object, or a list of them.")
    await services.metrics.record_metric(body)
    return {"accepted": 1}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(services: ServicesDep) -> Response:
    """Everything that is counted, as Prometheus text."""
    text = await asyncio.to_thread(services.metrics.generate_latest_metrics)
    return Response(text, media_type=METRICS_CONTENT_TYPE)
