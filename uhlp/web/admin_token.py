"""The administrator's token: compared in constant time, failures slowed down."""

import hmac
from collections.abc import Mapping
from hashlib import sha256

import structlog

from uhlp.clock import Clock
from uhlp.errors import Unauthorized
from uhlp.web.failure_limiter import FailureLimiter

log = structlog.get_logger(__name__)


class AdminToken:
    """Knows the token by its digest only; admin REST and panel share one instance, so they share its limiter."""

    def __init__(self, token: str, *, clock: Clock, failures_per_minute: int) -> None:
        self._digest = sha256(token.encode()).digest()
        self._limiter = FailureLimiter(clock=clock, failures_per_minute=failures_per_minute)

    def authenticate(self, headers: Mapping[bytes, bytes], *, client: str) -> str:
        """The actor behind `Authorization: Bearer <admin token>`; raises Unauthorized, TooManyRequests."""
        scheme, _, raw = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized("The administration needs Authorization: Bearer <admin token>.")
        return self.check(raw.strip(), client=client)

    def matches(self, raw: bytes) -> bool:
        """Whether this is the token; a wrong one is not counted."""
        return hmac.compare_digest(sha256(raw).digest(), self._digest)

    def check(self, raw: bytes, *, client: str) -> str:
        """The actor that this token stands for; raises Unauthorized, TooManyRequests."""
        if self.matches(raw):
            return "admin"
        self._limiter.check(client)
        self._limiter.failed(client)
        log.warning("admin_login_failed", client=client)
        raise Unauthorized("The admin token is not valid.")
