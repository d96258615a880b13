"""The settings in force, and what of them can be changed while the server runs (contracts §7)."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from uhlp.evolution.global_settings import CONFIGURATION, RULES
from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.kept_text import KeptText

router = APIRouter(tags=["settings"])


class ChangeNumbers(WireModel):
    """`changes` by dotted name, as GET lists them; `reset` gives numbers back to file and environment."""

    changes: dict[str, Any] = Field(default={}, examples=[{"canary.min_step_s": 120}])
    reset: tuple[str, ...] = ()
    reason: KeptText


class ChangeGlobal(WireModel):
    """`rules` are OptimizationRules, `configuration` is any object; `reset` gives them back to file and environment."""

    configuration: dict[str, Any] = Field(default={})
    rules: list[dict[str, Any]] = Field(default=[])
    reset: tuple[Literal["configuration", "optimization.rules"], ...] = ()
    reason: KeptText


@router.get("/settings")
async def settings(services: ServicesDep) -> dict[str, Any]:
    """Every setting with its value and origin; secrets are masked."""
    return {"settings": services.run_time.over(services.effective_settings)}


@router.get("/evolution/config")
async def evolution_config(services: ServicesDep) -> dict[str, Any]:
    """The governor's numbers by name, each {value, default, unit, bounds, allowed, origin, changedBy, changedAt,
    reason}. `bounds` has JSON Schema's words, `allowed` says the same for people; `origin` is default, file,
    environment or "run time".
    """
    return services.run_time.numbers()


@router.put("/evolution/config")
async def change_evolution_config(body: ChangeNumbers, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """In force at once, kept, and above file and environment after a restart. Evidence accounts, monitors and canary
    tests that were begun keep their numbers.
    """
    return await services.run_time.change_numbers(body.changes, reset=body.reset, actor=actor, reason=body.reason)


@router.get("/config")
async def global_config(services: ServicesDep) -> dict[str, Any]:
    """What holds for every application: `configuration` and `optimization.rules`, with their origin."""
    return services.run_time.global_settings()


@router.put("/config")
async def change_global_config(body: ChangeGlobal, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Each is replaced whole; what is not named stays."""
    given = body.model_fields_set
    changes: dict[str, Any] = {CONFIGURATION: body.configuration} if "configuration" in given else {}
    if "rules" in given:
        changes[RULES] = body.rules
    return await services.run_time.change_global(changes, reset=body.reset, actor=actor, reason=body.reason)
