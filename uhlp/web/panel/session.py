"""The panel's sessions: a signed cookie each, which expires, is bound to the admin token, and can be ended."""

import hmac
import secrets
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie

from uhlp.clock import Clock

COOKIE = "uhlp_panel"
MOST_SESSIONS = 1_000


class PanelSession:
    """Issues and checks cookies `<expires>.<nonce>.<signature>`.

    The server knows which sessions are open: one that was ended, or that began before a restart, is not valid.
    """

    def __init__(self, *, admin_token: str, clock: Clock, lasts_s: int, secure: bool) -> None:
        self._key = hmac.digest(admin_token.encode(), b"uhlp panel session", sha256)
        self._clock = clock
        self._lasts_s = lasts_s
        self._secure = secure
        self._open: dict[str, int] = {}  # claim -> when it expires, in seconds since the epoch; oldest first

    def issue(self) -> str:
        """A `Set-Cookie` value for a caller who has shown the admin token."""
        expires = int(self._clock.now()) + self._lasts_s
        claim = f"{expires}.{secrets.token_hex(16)}"
        self._open[claim] = expires
        while len(self._open) > MOST_SESSIONS:
            del self._open[next(iter(self._open))]
        return self._cookie(f"{claim}.{self._sign(claim)}", self._lasts_s)

    def end(self, cookie_header: bytes | None) -> str:
        """End the session of this cookie; a `Set-Cookie` value that removes it from the browser."""
        self._open.pop(self._claim_of(cookie_header) or "", None)
        return self._cookie("", 0)

    def is_valid(self, cookie_header: bytes | None) -> bool:
        """Whether the request's Cookie header holds a session that was issued here and has not expired."""
        claim = self._claim_of(cookie_header)
        return claim is not None and self._open.get(claim, 0) > self._clock.now()

    def _claim_of(self, cookie_header: bytes | None) -> str | None:
        """What a cookie says, if it was signed here."""
        if cookie_header is None:
            return None
        try:
            morsel = SimpleCookie(cookie_header.decode("latin-1")).get(COOKIE)
        except CookieError:
            return None
        claim, _, signature = (morsel.value if morsel else "").rpartition(".")
        is_signed = hmac.compare_digest(self._sign(claim).encode(), signature.encode("latin-1", "replace"))
        return claim if is_signed else None

    def _sign(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode("latin-1", "replace"), sha256).hexdigest()

    def _cookie(self, value: str, max_age_s: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{COOKIE}={value}; Path=/panel; HttpOnly; SameSite=Strict; Max-Age={max_age_s}{secure}"
