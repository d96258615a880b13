"""The gate of executions: which one's token a request carries; failures are slowed down."""

from uhlp.access.sandbox_tokens import PREFIX, SandboxIdentity, SandboxTokens
from uhlp.clock import Clock
from uhlp.errors import Unauthorized
from uhlp.web.failure_limiter import FailureLimiter


class SandboxGate:
    """Reads the tokens that calls bring along to images of users' own."""

    def __init__(self, tokens: SandboxTokens, *, clock: Clock, failures_per_minute: int) -> None:
        self._tokens = tokens
        self._limiter = FailureLimiter(clock=clock, failures_per_minute=failures_per_minute)

    @staticmethod
    def is_for(raw: bytes) -> bool:
        """Whether this means to be such a token."""
        return raw.startswith(PREFIX)

    def check(self, raw: bytes, *, client: str) -> SandboxIdentity:
        """Which execution this is; raises Unauthorized, TooManyRequests."""
        identity = self._tokens.holder(raw)
        if identity is None:
            self._limiter.check(client)
            self._limiter.failed(client)
            raise Unauthorized("The sandbox token is not valid: it is good for one call, until it is over.")
        return identity
