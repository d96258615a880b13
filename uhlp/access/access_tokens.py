"""AccessTokens: who may administer this server. Tokens are `uhlp_admin_<id>_<secret>`.

The secret is 256 random bits, so a fast hash is right: nobody can try them out, and a slow one (argon2) would only make
every request slow. What is kept is the SHA-256 of the whole token, in `<data>/evolution.db`; a token is shown once.

The first token comes from the settings or from `<data>/admin_token`. It belongs to `admin`, an owner, and cannot be
deleted here: whoever can start the server can always get in, and no owner can lock everybody out.

What decides is in memory: a token that was deleted is refused from the next request on.
"""

import asyncio
import hmac
import re
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from uhlp.access.administrator import Administrator, Role
from uhlp.access.token_table import KeptToken, TokenTable
from uhlp.clock import Clock
from uhlp.errors import Conflict, TokenNotFound, Unavailable, ValidationFailed

T = TypeVar("T")
FIRST = "admin"
"""Id and name of the first token."""

_RAW = re.compile(rb"uhlp_admin_([0-9a-f]{16})_[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,62}")
_RESERVED = frozenset({FIRST, "governor", "oracle", "uhlp"})
"""Names under which the server itself acts: a person's decision must not look like one of them."""


class AccessLedger(Protocol):
    """Where it is written that a token was made or deleted (evolution.AccessEntries)."""

    async def write(self, *, actor: str, reason: str, token: Administrator) -> object: ...


@dataclass(frozen=True, slots=True)
class TokenView:
    """What may be shown of a token. Times are epoch seconds; the first token was made by nobody."""

    holder: Administrator
    created_at: float | None
    created_by: str | None
    last_used_day: str | None
    """ISO date, UTC."""


class AccessTokens:
    """Makes, lists, deletes and recognises tokens. Open it with `async with`; `run_cycle` keeps the days of use."""

    def __init__(
        self, *, path: Path, first_token: str, ledger: AccessLedger, clock: Clock, most_tokens: int = 1_000
    ) -> None:
        self._path = path
        self._table = TokenTable(path)
        self._ledger = ledger
        self._clock = clock
        self._most_tokens = most_tokens
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="access-db")
        self._changing = asyncio.Lock()
        self._first = KeptToken(
            Administrator(FIRST, FIRST, Role.OWNER), sha256(first_token.encode()).digest(), 0.0, FIRST
        )
        self._nobody = secrets.token_bytes(32)
        self._tokens: dict[str, KeptToken] = {}
        self._days: dict[str, str] = {}
        self._unkept_days: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        tokens, self._days = await self._run(self._table.open)
        self._tokens = {one.holder.token_id: one for one in tokens}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.run_cycle()
        finally:
            await self._run(self._table.close)
            self._thread.shutdown()

    async def run_cycle(self) -> None:
        """Keep which tokens were used on which day."""
        days, self._unkept_days = self._unkept_days, {}
        if days:
            try:
                await self._run(self._table.put_days, days)
            except BaseException:
                self._unkept_days = {**days, **self._unkept_days}
                raise

    # -- recognising -------------------------------------------------------------------------------------------------

    def holder(self, raw: bytes) -> Administrator | None:
        """Whose token this is. Right, wrong, unknown and deleted ones cost the same: one SHA-256, two comparisons."""
        digest = sha256(raw).digest()
        named = _RAW.fullmatch(raw)
        kept = self._tokens.get(named[1].decode() if named else "")
        is_first = hmac.compare_digest(digest, self._first.digest)
        fits = hmac.compare_digest(digest, self._nobody if kept is None else kept.digest)
        found = self._first if is_first else kept if fits else None
        if found is None:
            return None
        self._used(found.holder.token_id)
        return found.holder

    def by_id(self, token_id: str) -> Administrator | None:
        """The holder of a token that was shown earlier; None since it was deleted."""
        if token_id == FIRST:
            return self._first.holder
        kept = self._tokens.get(token_id)
        return None if kept is None else kept.holder

    def role_of(self, name: str) -> Role | None:
        """The role of the token of this name; None for actors without one (the governor)."""
        kept = self._named(name)
        return None if kept is None else kept.holder.role

    # -- changing ----------------------------------------------------------------------------------------------------

    def listed(self) -> list[TokenView]:
        """The first token, then the others, oldest first."""
        first = TokenView(self._first.holder, None, None, self._days.get(FIRST))
        return [
            first,
            *(
                TokenView(one.holder, one.created_at, one.created_by, self._days.get(one.holder.token_id))
                for one in self._tokens.values()
            ),
        ]

    async def create(self, name: str, role: Role, *, actor: str, reason: str) -> tuple[str, TokenView]:
        """A new token, to be shown once, and what is kept of it. Raises ValidationFailed, Conflict."""
        if _NAME.fullmatch(name) is None:
            raise ValidationFailed(
                "A token's name has 1 to 63 letters, digits and ._@+- and begins with a letter or digit.",
                details={"path": "name"},
            )
        if name.casefold() in _RESERVED:
            raise ValidationFailed(f"The name {name} is the server's own; choose another.", details={"path": "name"})
        async with self._changing:
            if self._named(name) is not None:
                raise Conflict(f"There is a token named {name}; delete it first, or choose another name.")
            if len(self._tokens) >= self._most_tokens:
                raise Conflict(f"There are {self._most_tokens} tokens; delete one first.")
            token_id = secrets.token_hex(8)
            raw = f"uhlp_admin_{token_id}_{secrets.token_hex(32)}"
            holder = Administrator(token_id, name, role)
            kept = KeptToken(holder, sha256(raw.encode()).digest(), self._clock.now(), actor)
            await self._ledger.write(actor=actor, reason=f"made {_words(holder)}: {reason}", token=holder)
            await self._run(self._table.put, kept)
            self._tokens[token_id] = kept
        return raw, TokenView(holder, kept.created_at, actor, None)

    async def delete(self, token_id: str, *, actor: str, reason: str) -> Administrator:
        """Whose token was deleted. Raises TokenNotFound; Conflict for the first token."""
        if token_id == FIRST:
            raise Conflict(
                "The first token cannot be deleted. To change it, set UHLP_ADMIN_TOKEN, or remove admin_token from the "
                "data directory, and start the server again."
            )
        async with self._changing:
            holder = self.by_id(token_id)
            if holder is None:
                raise TokenNotFound(details={"tokenId": token_id})
            await self._ledger.write(actor=actor, reason=f"deleted {_words(holder)}: {reason}", token=holder)
            await self._run(self._table.delete, token_id)
            del self._tokens[token_id]
        return holder

    def _named(self, name: str) -> KeptToken | None:
        """Names differ in more than upper and lower case."""
        folded = name.casefold()
        everyone = (self._first, *self._tokens.values())
        return next((one for one in everyone if one.holder.name.casefold() == folded), None)

    def _used(self, token_id: str) -> None:
        day = datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()
        if self._days.get(token_id) != day:
            self._days[token_id] = self._unkept_days[token_id] = day

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the access tokens in {self._path} fail: {error}") from error


def _words(holder: Administrator) -> str:
    return f"token {holder.token_id} of {holder.name}, {holder.role}"
