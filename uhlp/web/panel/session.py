"""The panel's sessions: a signed cookie each, which expires, ends with the token that opened it, and can be ended."""

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256

from uhlp.access.administrator import Administrator
from uhlp.clock import Clock

COOKIE = "uhlp_panel"
MOST_SESSIONS = 1_000


class PanelSession:
    """Issues and checks cookies `<expires>.<nonce>.<signature>`.

    The server knows which sessions are open, and whose: one that was ended, that began before a restart, or whose
    holder `is_open_to` refuses (the token was deleted) is not valid.
    """

    def __init__(
        self, *, is_open_to: Callable[[Administrator], bool], clock: Clock, lasts_s: int, secure: bool
    ) -> None:
        self._is_open_to = is_open_to
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self._lasts_s = lasts_s
        self._secure = secure
        self._open: dict[str, tuple[int, Administrator]] = {}  # claim -> when it expires (epoch s), whose; oldest first

    def issue(self, administrator: Administrator) -> str:
        """A `Set-Cookie` value for a caller who has shown this administrator's token."""
        expires = int(self._clock.now()) + self._lasts_s
        claim = f"{expires}.{secrets.token_hex(16)}"
        self._open[claim] = (expires, administrator)
        while len(self._open) > MOST_SESSIONS:
            del self._open[next(iter(self._open))]
        return self._cookie(f"{claim}.{self._sign(claim)}", self._lasts_s)

    def end(self, cookie_header: bytes | None) -> str:
        """End the session of this cookie; a `Set-Cookie` value that removes it from the browser."""
        self._open.pop(self._claim_of(cookie_header) or "", None)
        return self._cookie("", 0)

    def administrator(self, cookie_header: bytes | None) -> Administrator | None:
        """Whose session the request's Cookie header holds; None when it was not issued here or is over."""
        expires, administrator = self._open.get(self._claim_of(cookie_header) or "", (0, None))
        if administrator is None or expires <= self._clock.now() or not self._is_open_to(administrator):
            return None
        return administrator

    def _claim_of(self, cookie_header: bytes | None) -> str | None:
        """The open session that a cookie names, if it was signed here. There may be other cookies of its name: a page
        of an application's own host can set some for the domain above it, which must not take the place of ours.
        """
        for pair in (cookie_header or b"").decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            claim, _, signature = value.strip('"').rpartition(".")
            if name != COOKIE or claim not in self._open:
                continue
            if hmac.compare_digest(self._sign(claim).encode(), signature.encode("latin-1")):
                return claim
        return None

    def _sign(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode("latin-1", "replace"), sha256).hexdigest()

    def _cookie(self, value: str, max_age_s: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{COOKIE}={value}; Path=/panel; HttpOnly; SameSite=Strict; Max-Age={max_age_s}{secure}"
