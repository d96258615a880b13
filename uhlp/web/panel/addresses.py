"""Addresses of the panel's pages."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

PANEL = "/panel"
OVERVIEW = f"{PANEL}/"
CANDIDATES = f"{PANEL}/candidates"
WAITING = f"{PANEL}/waiting"
WORKFLOWS = f"{PANEL}/workflows"
MONEY = f"{PANEL}/money"
SANDBOXES = f"{PANEL}/sandboxes"
LEDGER = f"{PANEL}/ledger"
EVENTS = f"{PANEL}/events"
SETTINGS = f"{PANEL}/settings"
CREATE = f"{PANEL}/create"

PLACES = (
    ("Overview", OVERVIEW),
    ("Candidates", CANDIDATES),
    ("Waiting", WAITING),
    ("Workflows", WORKFLOWS),
    ("Money", MONEY),
    ("Sandboxes", SANDBOXES),
    ("Ledger", LEDGER),
    ("Events", EVENTS),
    ("Settings", SETTINGS),
)


def application(app_id: str) -> str:
    return f"{PANEL}/apps/{quote(app_id, safe='')}"


def component(app_id: str, component_id: str) -> str:
    return f"{application(app_id)}/components/{quote(component_id, safe='')}"


def candidates(**filters: str | None) -> str:
    return _filtered(CANDIDATES, filters)


def candidate(candidate_id: str) -> str:
    return f"{CANDIDATES}/{quote(candidate_id, safe='')}"


def prompt(app_id: str, name: str) -> str:
    return f"{application(app_id)}/prompts/{quote(name, safe='')}"


def evaluations(app_id: str, **filters: str | None) -> str:
    return _filtered(f"{application(app_id)}/evals", filters)


def evaluation(app_id: str, eval_id: str) -> str:
    return f"{application(app_id)}/evals/{quote(eval_id, safe='')}"


def compression(request_id: str) -> str:
    return f"{PANEL}/compressions/{quote(request_id, safe='')}"


def workflows(**filters: str | None) -> str:
    return _filtered(WORKFLOWS, filters)


def execution(app_id: str, execution_id: str) -> str:
    return f"{WORKFLOWS}/{quote(app_id, safe='')}/{quote(execution_id, safe='')}"


def ledger(**filters: str | int | None) -> str:
    return _filtered(LEDGER, filters)


def _filtered(address: str, filters: Mapping[str, str | int | None]) -> str:
    given = {name: value for name, value in filters.items() if value}
    return f"{address}?{urlencode(given)}" if given else address
