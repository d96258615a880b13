"""`uhlp status`."""

from typing import Annotated

import typer

from uhlp.cli.output import AsJson, print_json, print_table


def status(
    window_s: Annotated[int, typer.Option("--window", help="Seconds that the figures look back.")] = 3_600,
    json_: AsJson = False,
) -> None:
    """Applications and their components: what runs, and how it does."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        applications = client.get("/apps")["applications"]
        for application in applications:
            app_id = application["appId"]
            usage = client.get(f"/apps/{app_id}/usage", windowS=window_s)["components"]
            components = client.get(f"/apps/{app_id}/components")["components"]
            application["componentList"] = [
                {**component, "usage": usage.get(component["componentId"])} for component in components
            ]
    if json_:
        print_json(applications)
        return
    rows = [
        (
            application["appId"],
            application["status"],
            component["componentId"],
            component["handlerType"],
            component["implementation"],
            (component["usage"] or {}).get("count"),
            _ms(((component["usage"] or {}).get("latencyMs") or {}).get("p50")),
        )
        for application in applications
        for component in application["componentList"]
    ]
    print_table(
        ("application", "status", "component", "handler", "implementation", "#requests", "#p50"),
        rows,
        empty="No applications yet: uhlp init my-app && uhlp apply my-app",
    )


def _ms(value: float | None) -> str | None:
    return None if value is None else f"{value:,.1f} ms"
