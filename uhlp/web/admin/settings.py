"""The settings in force, as `uhlp settings` prints them."""

from typing import Any

from fastapi import APIRouter

from uhlp.web.admin.access import ServicesDep

router = APIRouter(tags=["settings"])


@router.get("/settings")
async def settings(services: ServicesDep) -> dict[str, Any]:
    """Every setting with its value and origin; secrets are masked."""
    return {"settings": services.effective_settings}
