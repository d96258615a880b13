"""Moments as text, as they are on the wire (contracts: timestamps are ISO 8601 in UTC)."""

from datetime import UTC, datetime


def rfc3339(moment: float) -> str:
    """Seconds since the epoch as text, in UTC and milliseconds: `2026-01-01T00:00:00.000Z`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
