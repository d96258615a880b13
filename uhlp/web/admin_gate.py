"""The gate of the administration: whose token a request carries; failures are slowed down."""

from collections.abc import Mapping

import structlog

from uhlp.access.access_tokens import AccessTokens
from uhlp.access.administrator import Administrator
from uhlp.clock import Clock
from uhlp.errors import Unauthorized
from uhlp.web.failure_limiter import FailureLimiter

log = structlog.get_logger(__name__)


class AdminGate:
    """Admin REST, panel and /record share one instance, so they share its limiter."""

    def __init__(self, tokens: AccessTokens, *, clock: Clock, failures_per_minute: int) -> None:
        self._tokens = tokens
        self._limiter = FailureLimiter(clock=clock, failures_per_minute=failures_per_minute)

    def authenticate(self, headers: Mapping[bytes, bytes], *, client: str) -> Administrator:
        """Who asks, by `Authorization: Bearer <admin token>`; raises Unauthorized, TooManyRequests."""
        scheme, _, raw = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized("The administration needs Authorization: Bearer <admin token>.")
        return self.check(raw.strip(), client=client)

    def holder(self, raw: bytes) -> Administrator | None:
        """Whose token this is; one that is nobody's is not counted."""
        return self._tokens.holder(raw)

    def check(self, raw: bytes, *, client: str) -> Administrator:
        """Whose token this is; raises Unauthorized, TooManyRequests."""
        administrator = self._tokens.holder(raw)
        if administrator is not None:
            return administrator
        self._limiter.check(client)
        self._limiter.failed(client)
        log.warning("admin_login_failed", client=client)
        raise Unauthorized("The admin token is not valid.")

    def is_open_to(self, administrator: Administrator) -> bool:
        """Whether the token that let them in still would."""
        return self._tokens.by_id(administrator.token_id) is not None
