"""Addresses of the panel's pages."""

from urllib.parse import quote, urlencode

PANEL = "/panel"
OVERVIEW = f"{PANEL}/"
CANDIDATES = f"{PANEL}/candidates"
WAITING = f"{PANEL}/waiting"
MONEY = f"{PANEL}/money"
SANDBOXES = f"{PANEL}/sandboxes"
LEDGER = f"{PANEL}/ledger"
EVENTS = f"{PANEL}/events"
SETTINGS = f"{PANEL}/settings"

PLACES = (
    ("Overview", OVERVIEW),
    ("Candidates", CANDIDATES),
    ("Waiting", WAITING),
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


def candidate(candidate_id: str) -> str:
    return f"{CANDIDATES}/{quote(candidate_id, safe='')}"


def ledger(**filters: str | int | None) -> str:
    given = {name: value for name, value in filters.items() if value}
    return f"{LEDGER}?{urlencode(given)}" if given else LEDGER
