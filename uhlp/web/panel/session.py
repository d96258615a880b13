"""The panel's session: a signed cookie that expires, bound to the admin token."""

import hmac
import secrets
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie

from uhlp.clock import Clock

COOKIE = "uhlp_panel"


class PanelSession:
    """Issues and checks cookies `<expires>.<nonce>.<signature>`.

    The signing key is derived from the admin token, so sessions survive a restart and end when the token changes.
    """

    def __init__(self, *, admin_token: str, clock: Clock, lasts_s: int, secure: bool) -> None:
        self._key = hmac.digest(admin_token.encode(), b"uhlp panel session", sha256)
        self._clock = clock
        self._lasts_s = lasts_s
        self._secure = secure

    def issue(self) -> str:
        """A `Set-Cookie` value for a caller who has shown the admin token."""
        claim = f"{int(self._clock.now()) + self._lasts_s}.{secrets.token_hex(16)}"
        return self._cookie(f"{claim}.{self._sign(claim)}", self._lasts_s)

    def end(self) -> str:
        """A `Set-Cookie` value that removes the session from the browser."""
        return self._cookie("", 0)

    def is_valid(self, cookie_header: bytes | None) -> bool:
        """Whether the request's Cookie header holds a session that was issued here and has not expired."""
        if cookie_header is None:
            return False
        try:
            morsel = SimpleCookie(cookie_header.decode("latin-1")).get(COOKIE)
        except CookieError:
            return False
        claim, _, signature = (morsel.value if morsel else "").rpartition(".")
        if not hmac.compare_digest(self._sign(claim).encode(), signature.encode("latin-1", "replace")):
            return False
        return int(claim.partition(".")[0]) > self._clock.now()

    def _sign(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode("latin-1", "replace"), sha256).hexdigest()

    def _cookie(self, value: str, max_age_s: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{COOKIE}={value}; Path=/panel; HttpOnly; SameSite=Strict; Max-Age={max_age_s}{secure}"
