"""SandboxTokens: what an execution proves to this server that it is itself. Tokens are `uhlp_call_<claim>.<signature>`.

A token is good for one execution, until shortly after its deadline, and says whose it is: application, component,
sandbox and request. The claim is JSON in base64url, the signature HMAC-SHA-256 over all before it. The key is made at
the start and kept in memory alone: no token outlives a restart, as no call does.

No JWT, though PyJWT is here for users' tokens: only this server reads these, so a header that names an algorithm would
be one more thing to refuse, and PyJWT brings cryptography, a tenth of a second of every start.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from uhlp import strict_json
from uhlp.clock import Clock

PREFIX = b"uhlp_call_"
"""No application key begins so: a key's id has six characters at least."""


class SandboxIdentity(NamedTuple):
    """Who executes: as the host knows it, never as a sandbox says."""

    app_id: str
    component_id: str
    sandbox_id: str
    pool_name: str
    handler_type: str
    request_id: str


class SandboxTokens:
    """Makes and recognises the tokens of one server, from its start to its end."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def make(self, identity: SandboxIdentity, *, lasts_s: float) -> str:
        """A token that is good from now on for `lasts_s` seconds."""
        claim = strict_json.dumps([*identity, self._clock.monotonic() + lasts_s])
        signed = PREFIX + urlsafe_b64encode(claim)
        return (signed + b"." + self._signature(signed)).decode("ascii")

    def holder(self, raw: bytes) -> SandboxIdentity | None:
        """Whose token this is; None when it is not good. Forged, cut and other servers' tokens cost what good ones do,
        one HMAC and one comparison; a claim is read, and so found to be over, only where its signature holds.
        """
        signed, _, signature = raw.rpartition(b".")
        if not hmac.compare_digest(self._signature(signed), signature):
            return None
        *identity, expires_s = strict_json.loads(urlsafe_b64decode(signed.removeprefix(PREFIX)))
        return SandboxIdentity(*identity) if self._clock.monotonic() < expires_s else None

    def _signature(self, signed: bytes) -> bytes:
        """As it stands in a token: compared as text, so that no second spelling of it is good."""
        return urlsafe_b64encode(hmac.digest(self._key, signed, "sha256"))
