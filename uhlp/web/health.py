"""Health: is the process there, and is every part of it ready (contracts §7)."""

from typing import Any

from fastapi import APIRouter, Response

from uhlp.version import own_version
from uhlp.web.admin.access import ServicesDep

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process runs and its event loop answers; `version` is UHLP's own."""
    return {"status": "ok", "version": own_version()}


@router.get("/readyz", responses={503: {"description": "At least one part is not ready; `reasons` says which."}})
async def readyz(services: ServicesDep, response: Response) -> dict[str, Any]:
    """Every part answers; otherwise 503 with a reason for each that does not. `sandboxes` says which walls hold,
    `evolution` which server decides about candidates: one that follows another is as ready as that one.
    """
    reasons: dict[str, str] = {}
    for name, probe in services.probes.items():
        try:
            reason = await probe()
        except Exception as error:
            reason = str(error) or type(error).__name__
        if reason is not None:
            reasons[name] = reason
    if reasons:
        response.status_code = 503
    walls = services.sandboxes.capabilities
    return {
        "status": "unready" if reasons else "ready",
        "parts": sorted(services.probes),
        "reasons": reasons,
        "sandboxes": {"driver": walls.driver, "isolation": walls.isolation, "missing": list(walls.missing)},
        "evolution": services.evolution.leadership(),
    }
