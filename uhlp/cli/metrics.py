"""`uhlp metrics`: what a server shows at GET /metrics, and what to load into Grafana and Prometheus."""

from typing import Annotated

import typer

from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_entries, print_json


def metrics(
    grafana: Annotated[bool, typer.Option("--grafana", help="Print a Grafana dashboard, to be imported.")] = False,
    alerts: Annotated[bool, typer.Option("--alerts", help="Print alert rules, a rule file for Prometheus.")] = False,
    json_: AsJson = False,
) -> None:
    """The metrics that every server shows, with type, labels, unit and meaning; no server is asked."""
    from uhlp.catalogue import CATALOGUE

    if grafana + alerts + json_ > 1:
        raise CommandError("Choose one of --grafana, --alerts and --json.")
    if grafana:
        from uhlp.catalogue.dashboard import grafana_dashboard

        print_json(grafana_dashboard())
    elif alerts:
        import yaml

        from uhlp.catalogue.alerts import alert_rules

        print(yaml.safe_dump(alert_rules(), sort_keys=False, width=120), end="")
    elif json_:
        print_json(
            [
                {
                    "name": metric.name,
                    "type": metric.metric_type,
                    "labels": list(metric.labels),
                    "unit": metric.unit,
                    "meaning": metric.meaning,
                }
                for metric in CATALOGUE.values()
            ]
        )
    else:
        print_entries(
            ("name", "type", "unit", "labels"),
            [((one.name, one.metric_type, one.unit, " ".join(one.labels)), one.meaning) for one in CATALOGUE.values()],
            empty="No metrics.",
        )
