"""Sandboxes: which walls hold, which pools there are, and every sandbox with its workers."""

from collections.abc import Mapping
from typing import Any

from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.markup import (
    Markup,
    Question,
    as_json,
    badge,
    block,
    details,
    empty,
    facts,
    join,
    link,
    note,
    table,
    tag,
)
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit

_POOL_COUNTS = ("workers", "spares", "starting", "busy", "waiting", "requests")
_POOLS = ["Pool", "For", "Isolation", "Workers wanted", "Workers", "Spares", "Starting", "Busy", "Waiting", "Calls"]
_WORKERS = ["Worker", "Lane", "Component", "State", "Calls", "Busy", "Age", "Memory"]


async def sandboxes_page(visit: Visit) -> Page:
    async def recycle(fields: Fields) -> str:
        visit.services.sandboxes.recycle(fields.get("sandbox", ""), actor=visit.actor)
        return "It gets no new calls; those in flight finish."

    async def walls() -> Markup:
        return _walls(visit)

    async def pools() -> Markup:
        return _pools(visit)

    async def running() -> Markup:
        return await _running(visit)

    return Page(
        title="Sandboxes",
        place="Sandboxes",
        sections=(
            Section(name="Walls", draw=walls, every_s=5),
            Section(name="Pools", draw=pools),
            Section(name="Running", draw=running),
        ),
        actions={"recycle": Action(requests.RECYCLE, recycle)},
    )


def _walls(visit: Visit) -> Markup:
    capabilities = visit.services.sandboxes.capabilities
    status = visit.services.sandboxes.driver_status()
    problem = status.get("problem")
    return join(
        [
            note(problem, "bad") if problem else None,
            note(f"Missing: {', '.join(capabilities.missing)}", "warn") if capabilities.missing else None,
            facts(
                [
                    ("Driver", capabilities.driver),
                    ("Isolation", badge(capabilities.isolation, "bad" if capabilities.isolation == "none" else "good")),
                ]
            ),
            tag("ul", *(tag("li", fact) for fact in capabilities.facts), class_="sentences"),
        ]
    )


def _pools(visit: Visit) -> Markup:
    pools = visit.services.sandboxes.status()
    if not pools:
        return empty("No pool runs.", "Pools start with the first request that needs them.")
    rows = [
        [
            join(
                [
                    link(pool["appId"], addresses.application(pool["appId"])),
                    f" / {pool['poolName']}",
                    note(pool["problem"], "bad") if pool.get("problem") else None,
                ]
            ),
            {"serving": "answering users", "trial": "trying candidates"}.get(str(pool.get("group")), pool.get("group")),
            badge(str(pool["isolation"]), "bad" if pool["isolation"] == "none" else "good"),
            f"{figures.count(pool.get('minInstances'))} to {figures.count(pool.get('maxInstances'))}",
            *(
                figures.count(pool.get(name))
                for name in ("workers", "spares", "starting", "busy", "waiting", "requests")
            ),
        ]
        for pool in pools
    ]
    return table("Pools", _POOLS, rows, numeric=_POOLS[3:])


async def _running(visit: Visit) -> Markup:
    found = await visit.services.sandboxes.sandboxes()
    return join(_sandbox(visit, one) for one in found) if found else empty("No sandbox runs.")


def _sandbox(visit: Visit, one: Mapping[str, Any]) -> Markup:
    workers = one.get("workers", [])
    question = Question(
        "Replace this sandbox", "It gets no new calls; those in flight finish, and another takes its place."
    )
    rows = [
        [
            worker.get("workerId"),
            worker.get("lane"),
            worker.get("component") or figures.DASH,
            worker.get("state"),
            figures.count(worker.get("requests")),
            figures.count(worker.get("busy")),
            figures.seconds(worker.get("ageS")),
            _memory(worker.get("memoryBytes")),
        ]
        for worker in workers
    ]
    summary = (
        f"{figures.number_of(one.get('requests') or 0, 'call')}, {figures.count(one.get('busy'))} busy, "
        f"{figures.number_of(len(workers), 'worker')}, {figures.seconds(one.get('ageS'))} old"
    )
    return tag(
        "article",
        tag("h3", tag("code", one["sandboxId"]), " ", state_badge(str(one["state"]))),
        tag("p", summary),
        details("Workers", table("Workers", _WORKERS, rows, numeric=_WORKERS[4:]), key=f"workers-{one['sandboxId']}")
        if rows
        else details("All that is known", block(as_json(one), "Sandbox"), key=f"sandbox-{one['sandboxId']}"),
        tag(
            "div",
            visit.button(requests.RECYCLE, "Replace", "recycle", {"sandbox": one["sandboxId"]}, asks=question),
            class_="buttons",
        ),
        class_="card",
    )


def _memory(size_bytes: float | None) -> str:
    return figures.DASH if size_bytes is None else f"{size_bytes / 1024**2:,.0f} MiB"
