"""An application's status, as every face of the server shows it: its definition's, its pools', the server's loops'."""

from collections.abc import Iterable
from typing import Any

from uhlp.models.definition import PoolDefinition
from uhlp.web.services import Services

_SHOWN_OF_A_POOL = ("poolName", "workers", "starting", "busy", "waiting", "minInstances", "maxInstances", "problem")


async def application_status(services: Services, app_id: str) -> tuple[str, dict[str, Any]]:
    """What the registry says of the definition; of an active application also whether it can be served.

    DEGRADED while sandboxes cannot serve all of it (details.sandboxProblems, a sentence each), INITIALIZING until the
    workers that a pool always has are there for the first time. `details.pools` counts workers; `details.loopProblems`
    says which of the server's loops fails.
    """
    status, details = await services.registry.get_application_status(app_id)
    pools = [pool for pool in services.sandboxes.status() if pool["appId"] == app_id and pool["group"] == "serving"]
    details = {**details, "pools": [{name: pool[name] for name in _SHOWN_OF_A_POOL} for pool in pools]}
    loops = services.probes.get("loops")
    if loops is not None and (failing := await loops()):
        details["loopProblems"] = failing
    problems = services.sandboxes.problems(app_id)
    if problems:
        details = {"message": problems[0], **details, "sandboxProblems": problems}
    if status != "ACTIVE":
        return str(status), details
    if problems:
        return "DEGRADED", details
    if waits := _not_yet_there(services.registry.snapshot(app_id).definition.pools_in_use, pools):
        return "INITIALIZING", {"message": f"workers are being started in {', '.join(waits)}", **details}
    return "ACTIVE", details


def _not_yet_there(wanted: Iterable[PoolDefinition], pools: list[dict[str, Any]]) -> list[str]:
    """The pools that have never had their least number of workers, and have answered nothing yet."""
    running = {pool["poolName"]: pool for pool in pools}
    nothing: dict[str, Any] = {"workers": 0, "requests": 0}
    states = [(pool, running.get(pool.pool_name, nothing)) for pool in wanted]
    return [pool.pool_name for pool, now in states if not now["requests"] and now["workers"] < pool.min_instances]
