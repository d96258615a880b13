"""Numbers of the HTTP edge."""

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Algorithm = Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]


class WebSettings(BaseModel):
    """Limits of every request, and the panel's session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: Annotated[int, Field(ge=1_024)] = 10 * 1024 * 1024
    """A body that is sent to a component or to the administration; a larger one is refused with 413."""

    max_answer_bytes: Annotated[int, Field(ge=1_024, le=10 * 1024 * 1024)] = 10 * 1024 * 1024
    """A body that a component answers with; a larger one is answered with 502. A sandbox may say no more anyway."""
    max_record_bytes: Annotated[int, Field(ge=1_024)] = 4 * 1024 * 1024
    """A body of POST /record."""
    body_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """How long a client has to send its body."""

    failed_logins_per_minute: Annotated[int, Field(ge=1)] = 20
    """Wrong credentials from one address; further ones are refused with 429 for a minute."""

    panel_session_s: Annotated[int, Field(ge=60)] = 8 * 3600
    """How long somebody stays logged in."""

    secure_cookies: bool = False
    """The panel's cookie is sent over HTTPS alone; always so in production."""

    events_heartbeat_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    """How often GET /events says that it is still there."""

    mcp_hosts: tuple[str, ...] = ()
    """Names of this server that MCP clients may call it by, without a port; `.example.com` stands for all names below.
    Addresses and localhost are always good."""

    mcp_origins: tuple[str, ...] = ()
    """Origins (`https://tools.example.com`) of other sites whose pages may call MCP endpoints."""


class UserSettings(BaseModel):
    """Where a user's id comes from: nowhere, `header` of a proxy in `trusted_proxies`, or a bearer token (`jwt`).

    `jwt_key` is `secret:NAME`: the shared secret, or the issuer's public key as PEM. `jwt_claim` holds the user's id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["none", "header", "jwt"] = "none"
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "X-User-Id"
    """The header that the proxy sets."""

    trusted_proxies: tuple[str, ...] = ("127.0.0.1/32", "::1/128")
    """Networks whose requests may bring the header; from anywhere else it is ignored."""

    jwt_key: str = ""
    """`secret:NAME`: the shared secret, or the issuer's public key as PEM."""

    jwt_algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256", "EdDSA")
    """What a token may be signed with."""

    jwt_issuer: str | None = None
    """What its `iss` must be."""

    jwt_audience: str | None = None
    """What its `aud` must hold."""

    jwt_claim: str = "sub"
    """Which claim is the user's id."""

    jwt_leeway_s: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How far the clocks of issuer and server may differ."""

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            ip_network(network)
        return networks
