"""Runtime values of applications: JSON and streams by key (seed 003 §3.3.4)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from uhlp.models.wire import WireModel
from uhlp.state.runtime_store import MISSING, MOST_ENTRIES, MOST_LISTED, RuntimeValue
from uhlp.web.admin.access import ServicesDep

router = APIRouter(prefix="/apps/{app_id}/runtime", tags=["runtime values"])


Seconds = Annotated[float, Field(gt=0, lt=3_155_760_000)]


class SetValue(WireModel):
    value: Any
    ttl_seconds: Seconds | None = None


MOST_STEP = 2**53 - 1
"""Every JSON library reads such a number as it was written."""


class Increment(WireModel):
    by: Annotated[int, Field(strict=True, ge=-MOST_STEP, le=MOST_STEP)] = 1


class CompareAndSet(WireModel):
    """Without `expected` there must be no value; `null` is a value."""

    expected: Any = None
    value: Any
    ttl_seconds: Seconds | None = None


class Append(WireModel):
    """`most` entries stay, the newest; by default as many as an application may keep."""

    entry: Any
    most: Annotated[int, Field(ge=1, le=MOST_ENTRIES)] | None = None
    ttl_seconds: Seconds | None = None


Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


@router.get("")
async def list_keys(
    app_id: str, services: ServicesDep, prefix: str = "", after: str = "", limit: Limit = 1_000
) -> dict[str, Any]:
    """Keys in order; ask on with `after` set to the last one."""
    services.registry.snapshot(app_id)
    return {"keys": await services.state.list_runtime_keys(app_id, prefix, after=after, limit=limit)}


@router.get("/{key}")
async def get_value(app_id: str, key: str, services: ServicesDep) -> dict[str, Any]:
    """A value; `found` says whether there is one."""
    services.registry.snapshot(app_id)
    found = await services.state.get_runtime_value(app_id, key)
    return {"key": key, "found": found.found, "value": found.value}


@router.put("/{key}")
async def set_value(app_id: str, key: str, body: SetValue, services: ServicesDep) -> dict[str, Any]:
    """Keep a JSON value, for `ttlSeconds` where they are given."""
    services.registry.snapshot(app_id)
    await services.state.set_runtime_value(app_id, key, body.value, ttl_seconds=body.ttl_seconds)
    return {"key": key, "value": body.value}


@router.delete("/{key}")
async def delete_value(app_id: str, key: str, services: ServicesDep) -> dict[str, Any]:
    """Forget a value."""
    services.registry.snapshot(app_id)
    await services.state.delete_runtime_value(app_id, key)
    return {"key": key}


@router.post("/{key}/increment")
async def increment_value(app_id: str, key: str, body: Increment, services: ServicesDep) -> dict[str, Any]:
    """Add to a number; a key that is not there counts as 0."""
    services.registry.snapshot(app_id)
    return {"key": key, "value": await services.state.increment_runtime_value(app_id, key, body.by)}


@router.post("/{key}/compare-and-set")
async def compare_and_set(app_id: str, key: str, body: CompareAndSet, services: ServicesDep) -> dict[str, Any]:
    """Put a value where the present one is the expected one; `wasSet` says whether it was."""
    services.registry.snapshot(app_id)
    expected = RuntimeValue(True, body.expected) if "expected" in body.model_fields_set else MISSING
    was_set = await services.state.compare_and_set_runtime_value(
        app_id, key, expected, body.value, ttl_seconds=body.ttl_seconds
    )
    return {"key": key, "wasSet": was_set}


@router.post("/{key}/entries")
async def append_entry(app_id: str, key: str, body: Append, services: ServicesDep) -> dict[str, Any]:
    """Add an entry to a stream; the answer gives its number."""
    services.registry.snapshot(app_id)
    number = await services.state.append_runtime_entry(
        app_id, key, body.entry, most=body.most, ttl_seconds=body.ttl_seconds
    )
    return {"key": key, "number": number}


@router.get("/{key}/entries")
async def list_entries(
    app_id: str, key: str, services: ServicesDep, after: Annotated[int, Query(ge=0, le=2**53)] = 0, limit: Limit = 1_000
) -> dict[str, Any]:
    """The entries of a stream behind number `after`, oldest first."""
    services.registry.snapshot(app_id)
    entries = await services.state.list_runtime_entries(app_id, key, after=after, limit=limit)
    return {"key": key, "entries": [{"number": entry.number, "value": entry.value} for entry in entries]}
