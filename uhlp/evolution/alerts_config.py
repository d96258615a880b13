"""Settings `alerts.*`: who is told of what."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from uhlp.evolution.notifications import EVENTS

SECRET = "secret:"  # noqa: S105  how a reference begins, not a secret


def check_url(url: str) -> str:
    """An http(s) URL without user and password, or a reference to a secret that holds one."""
    if url.startswith(SECRET):
        return url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("is no http or https URL without user and password, nor secret:NAME")
    return url


def _check_events(events: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(events) - EVENTS):
        raise ValueError(f"{', '.join(unknown)}: known are {', '.join(sorted(EVENTS))}")
    return events


class WebhookSettings(BaseModel):
    """Where notifications are posted. Both spellings, `app_id` and `appId`, are read.

    `url` and `secret` may be `secret:NAME`; `secret` must be. Without `events` it is told of every alert, without
    `app_id` of every application.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    url: Annotated[str, AfterValidator(check_url)]
    """The address, or `secret:NAME` where the address itself is a secret."""

    secret: Annotated[str, Field(pattern=r"^secret:.")]
    """`secret:NAME`: the key that signs each notification."""

    events: Annotated[tuple[str, ...], AfterValidator(_check_events)] = ()
    """Which events; every alert without it."""

    app_id: str | None = None
    """Of which application; of every one without it."""


class AlertSettings(BaseModel):
    """`webhooks`: at most 20. `attempts` each notification is posted at most, `timeout_s` each time; `queue` wait."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    webhooks: Annotated[tuple[WebhookSettings, ...], Field(max_length=20)] = ()
    """At most 20."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 8
    """How often one notification is posted at most."""

    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long one post may take."""

    queue: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Notifications that may wait for one webhook; the oldest go first when there are more."""
