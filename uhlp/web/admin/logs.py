"""The newest lines of the server's log (contracts §7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from uhlp.recent_logs import Level
from uhlp.web.admin.access import ServicesDep

router = APIRouter(tags=["observations"])


@router.get("/logs")
async def logs(
    services: ServicesDep,
    app_id: Annotated[str | None, Query(alias="appId", max_length=64)] = None,
    trace_id: Annotated[str | None, Query(alias="traceId", max_length=64)] = None,
    level: Level = "info",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    after: Annotated[str | None, Query(max_length=64)] = None,
) -> dict[str, Any]:
    """Newest first, as severe as `level` or more. They are in memory (`log.keep_lines`), of this server since its
    start; long texts are cut, what looks like a key is masked, and of a traceback the error's type is told.

    With `after`, the `cursor` of an earlier answer, the first `limit` lines since then: who asks on with every answer's
    cursor gets each line once. `missed` says how many lines have been pushed out of memory in between; after a restart
    of the server everything is new.
    """
    page = services.recent_logs.page(after=after, app_id=app_id, trace_id=trace_id, level=level, limit=limit)
    return {"lines": page.lines, "cursor": page.cursor, "missed": page.missed}
