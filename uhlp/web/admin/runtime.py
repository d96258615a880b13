"""Runtime values of applications: JSON by key (seed 003 §3.3.3)."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ServicesDep

router = APIRouter(prefix="/apps/{app_id}/runtime", tags=["runtime values"])


class SetValue(WireModel):
    value: Any
    ttl_seconds: Annotated[float, Field(gt=0)] | None = None


class Increment(WireModel):
    by: int = 1


@router.get("/{key}")
async def get_value(app_id: str, key: str, services: ServicesDep) -> dict[str, Any]:
    services.registry.snapshot(app_id)
    found = await services.state.get_runtime_value(app_id, key)
    return {"key": key, "found": found.found, "value": found.value}


@router.put("/{key}")
async def set_value(app_id: str, key: str, body: SetValue, services: ServicesDep) -> dict[str, Any]:
    services.registry.snapshot(app_id)
    await services.state.set_runtime_value(app_id, key, body.value, ttl_seconds=body.ttl_seconds)
    return {"key": key, "value": body.value}


@router.delete("/{key}")
async def delete_value(app_id: str, key: str, services: ServicesDep) -> dict[str, Any]:
    services.registry.snapshot(app_id)
    await services.state.delete_runtime_value(app_id, key)
    return {"key": key}


@router.post("/{key}/increment")
async def increment_value(app_id: str, key: str, body: Increment, services: ServicesDep) -> dict[str, Any]:
    """Add to a number; a key that is not there counts as 0."""
    services.registry.snapshot(app_id)
    return {"key": key, "value": await services.state.increment_runtime_value(app_id, key, body.by)}
