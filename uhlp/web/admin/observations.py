"""What was observed of an application: numbers, samples (contracts §7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from pydantic.alias_generators import to_camel

from uhlp import strict_json
from uhlp.errors import ValidationFailed
from uhlp.metrics.windows import HANDLERS, LONGEST_WINDOW_S
from uhlp.models.wire import WireModel
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.traffic.importing import ImportedRow
from uhlp.web.admin.access import ServicesDep
from uhlp.web.admin.apps import component_of

router = APIRouter(tags=["observations"])

ComponentQuery = Annotated[str, Query(alias="componentId")]
MOST_IMPORTED = 5_000
WindowQuery = Annotated[int, Query(alias="windowS", ge=1, le=LONGEST_WINDOW_S)]
"""Seconds, up to 35 days; below 30 s it is 30 s, and the answer says so."""


class RecordedCall(WireModel):
    """A call recorded elsewhere; `gold` is the right answer where it is known."""

    input: dict[str, Any]
    output: Any
    gold: Any = None


class ImportSamples(WireModel):
    """Recorded traffic of one component."""

    component_id: str
    samples: Annotated[list[RecordedCall], Field(min_length=1, max_length=MOST_IMPORTED)]


@router.get("/apps/{app_id}/metrics")
async def window(
    app_id: str,
    services: ServicesDep,
    component_id: Annotated[str | None, Query(alias="componentId")] = None,
    window_s: WindowQuery = 60,
) -> dict[str, Any]:
    """The numbers that rules see, in all and for each handler: of a component, or of all of the application.

    With a component also its `rules`: what each says now, by which numbers, since when, and why it is unknown.
    `dropped` counts what the server's windows could not take in; while it is all 0, the numbers are exact.
    """
    snapshot = services.registry.snapshot(app_id)
    if component_id is not None:
        component_of(snapshot, component_id)
    windows = services.windows
    of_all = windows.window(app_id, component_id, window_s)
    return {
        "appId": app_id,
        "componentId": component_id,
        "windowS": of_all.window_s,
        "all": of_all.as_dict(),
        "handlers": {
            handler: windows.window(app_id, component_id, window_s, handler).as_dict() for handler in HANDLERS
        },
        "rules": [] if component_id is None else services.evolution.rules(app_id, component_id),
        "dropped": dict(windows.dropped),
    }


@router.get("/apps/{app_id}/samples")
async def samples(
    app_id: str,
    services: ServicesDep,
    component_id: ComponentQuery,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> dict[str, Any]:
    """Newest first, as they are kept (redacted); `counts` covers all that are kept."""
    component_of(services.registry.snapshot(app_id), component_id)
    found = await services.samples.samples(app_id, component_id, ok=None, limit=limit)
    counts = await services.samples.counts(app_id, component_id)
    return {
        "counts": {to_camel(name): value for name, value in counts.to_dict().items()},
        "samples": [{to_camel(name): getattr(one, name) for name in one.__slots__} for one in found],
    }


@router.post("/apps/{app_id}/samples")
async def import_samples(app_id: str, body: ImportSamples, services: ServicesDep) -> dict[str, Any]:
    """Take recorded calls in as samples. Those that do not match the component's schemas are left out and named."""
    component = component_of(services.registry.snapshot(app_id), body.component_id)
    rows: list[ImportedRow] = []
    refused: list[dict[str, Any]] = []
    for index, call in enumerate(body.samples):
        problem = _mismatch(component, call)
        if problem is not None:
            refused.append({"index": index, **problem})
            continue
        has_gold = "gold" in call.model_fields_set
        rows.append(
            ImportedRow(input=call.input, output=call.output, line=index + 1, gold=call.gold, has_gold=has_gold)
        )
    if not rows:
        message = f"No sample matches the component's schemas; the first: {refused[0]['message']}"
        placed = [{**one, "path": f"/samples/{one['index']}{one['path']}"} for one in refused[:20]]
        raise ValidationFailed(message, details={"problems": placed})
    imported = await services.samples.import_samples(
        app_id,
        body.component_id,
        rows,
        spec_hash=component.spec_hash,
        redact=component.configuration.get("redact", ()),
    )
    return {"imported": imported, "refused": len(refused), "problems": refused[:20]}


def _mismatch(component: ComponentSnapshot, call: RecordedCall) -> dict[str, Any] | None:
    for where, value in (("input", call.input), ("output", call.output), ("gold", call.gold)):
        try:
            strict_json.dumps(value)
        except TypeError:
            return {"path": f"/{where}", "message": "it holds a whole number beyond 64 bits, which is not kept exactly"}
    for where, validator, value in (
        ("input", component.input_validator, call.input),
        ("output", component.output_validator, call.output),
    ):
        if validator is not None and not validator.is_valid(value):
            first = validator.problems(value)[0]
            return {"path": f"/{where}{first['path']}", "message": first["message"]}
    return None
