"""`uhlp status`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.output import AsJson, print_json, print_note, print_table

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient


def status(
    app_id: Annotated[
        str | None, typer.Argument(help="One application; all of them without it.", metavar="[APP]")
    ] = None,
    window_s: Annotated[
        int, typer.Option("--window", help="Seconds that the figures look back; p50 is of what runs now.")
    ] = 3_600,
    json_: AsJson = False,
) -> None:
    """Applications, or one, and their components: what runs, how it does, and how its sandboxes are walled."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        applications = client.get("/apps")["applications"] if app_id is None else [client.get(f"/apps/{app_id}/status")]
        for application in applications:
            application["componentList"] = _components(client, application, window_s)
        walls = client.get("/sandboxes") if not json_ else {}
    if json_:
        print_json(applications)
        return
    rows = [
        (
            application["appId"],
            application["status"],
            component.get("componentId"),
            component.get("implementation"),
            (component.get("usage") or {}).get("count"),
            _ms(_present(component).get("p50")),
        )
        for application in applications
        for component in application["componentList"] or [{}]
    ]
    print_table(
        ("application", "status", "component", "runs as", "#requests", "#p50"),
        rows,
        empty="No applications yet: uhlp init my-app && uhlp apply my-app",
    )
    for application in applications:
        if (problem := application["details"].get("message")) is not None:
            for each in application["details"].get("sandboxProblems", [problem]):
                print_note(f"{application['appId']}: {each}")
    print_note(walls_line(walls))


def _present(component: dict[str, Any]) -> dict[str, Any]:
    """Latencies of what runs now, without those of what ran before it."""
    latencies: dict[str, Any] = ((component.get("usage") or {}).get("present") or {}).get("latencyMs") or {}
    return latencies


def _components(client: "AdminClient", application: dict[str, Any], window_s: int) -> list[dict[str, Any]]:
    """The components with their figures; none of an application that nothing can be served of."""
    if application["details"]["revision"] is None:
        return []
    app_id = application["appId"]
    usage = client.get(f"/apps/{app_id}/usage", windowS=window_s)["components"]
    components = client.get(f"/apps/{app_id}/components")["components"]
    return [{**component, "usage": usage.get(component["componentId"])} for component in components]


def walls_line(told: dict[str, Any]) -> str:
    """Which driver makes sandboxes, and what holds them apart, as GET /sandboxes told it."""
    missing = f" (missing: {'; '.join(told['missing'])})" if told["missing"] else ""
    return f"Sandboxes: {told['driver']} driver, isolation: {told['isolation']}{missing}"


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f} ms"
