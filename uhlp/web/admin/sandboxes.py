"""Sandboxes: what runs, how it is walled, and a new one for an old one (contracts §7)."""

from typing import Any

from fastapi import APIRouter

from uhlp.web.admin.access import ActorDep, ServicesDep

router = APIRouter(tags=["sandboxes"])


@router.get("/sandboxes")
async def sandboxes(services: ServicesDep) -> dict[str, Any]:
    """Every sandbox with its workers, every pool, and what the driver promises on this machine and has to say."""
    capabilities = services.sandboxes.capabilities
    return {
        "driver": capabilities.driver,
        "isolation": capabilities.isolation,
        "missing": list(capabilities.missing),
        "facts": list(capabilities.facts),
        "sandboxes": await services.sandboxes.sandboxes(),
        "pools": services.sandboxes.status(),
        "driverStatus": services.sandboxes.driver_status(),
    }


@router.get("/apps/{app_id}/sandboxes")
async def application_sandboxes(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """The sandboxes and pools of one application."""
    services.registry.snapshot(app_id)
    return {
        "sandboxes": await services.sandboxes.sandboxes(app_id),
        "pools": [pool for pool in services.sandboxes.status() if pool["appId"] == app_id],
    }


@router.post("/sandboxes/{sandbox_id}/recycle", status_code=202)
async def recycle(sandbox_id: str, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Replace a sandbox: it gets no new calls, those in flight finish."""
    services.sandboxes.recycle(sandbox_id, actor=actor)
    return {"sandboxId": sandbox_id, "state": "draining"}
