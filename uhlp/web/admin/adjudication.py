"""What people say is right (design "What counts as right"): open questions, and the answers to them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from pydantic.alias_generators import to_camel

from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.apps import component_of

router = APIRouter(prefix="/apps/{app_id}", tags=["adjudication"])

InputHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Adjudicate(WireModel):
    """`expected` is what the component should have answered."""

    expected: Any
    reason: Annotated[str, Field(max_length=2_000)] = ""


class AdjudicateInput(Adjudicate):
    """For an open question or a lost comparison, both of which name the input by its hash."""

    component_id: str
    input_hash: InputHash


@router.post("/samples/{sample_id}/adjudicate")
async def adjudicate_sample(
    app_id: str, sample_id: str, body: Adjudicate, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Say what is right for a recorded input. It is the reference for that input from now on, below golden alone."""
    return await services.evolution.adjudicate_sample(
        app_id, sample_id, expected=body.expected, actor=actor, reason=body.reason
    )


@router.get("/adjudications")
async def adjudications(
    app_id: str, services: ServicesDep, component_id: Annotated[str, Query(alias="componentId")]
) -> dict[str, Any]:
    """Questions that wait for a person, and what persons have said; newest first, redacted as samples are."""
    component_of(services.registry.snapshot(app_id), component_id)
    found = await services.evolution.adjudications(app_id, component_id)
    return {
        name: [{to_camel(field): value for field, value in one.items()} for one in found[name]]
        for name in ("questions", "adjudications")
    }


@router.post("/adjudications")
async def adjudicate_input(
    app_id: str, body: AdjudicateInput, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Answer an open question, or say what is right where a handler lost a comparison."""
    component_of(services.registry.snapshot(app_id), body.component_id)
    return await services.evolution.adjudicate_input(
        app_id, body.component_id, body.input_hash, expected=body.expected, actor=actor, reason=body.reason
    )
