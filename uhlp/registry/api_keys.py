"""Application keys: `uhlp_<keyId>_<secret>`, kept as argon2id hashes only (contracts §2, §7; seed 003 §3.1.4)."""

import asyncio
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from uhlp.errors import TooManyRequests
from uhlp.models.definition import ApiKeyDefinition
from uhlp.registry.config import RegistrySettings

T = TypeVar("T")
_MOST_WAITING = 128
"""Checks at a time, of about 24 ms each: who tries keys by the thousand waits, and holds no memory."""
_RAW = re.compile(r"uhlp_(?P<key_id>[a-z0-9]{6,32})_(?P<secret>[A-Za-z0-9_-]{16,128})")


@dataclass(frozen=True, slots=True)
class ApiKeyIdentity:
    """Whose key it is and what it may do."""

    app_id: str
    key_id: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Verified:
    app_id: str
    key_id: str
    key_hash: str


class ApiKeys:
    """Checks raw keys against the keys of all applications.

    The first check of a key costs one argon2id in a thread of its own; then a keyed BLAKE2 of the raw key, held in
    memory, answers in microseconds. A key that is removed or disabled stops at the next `replace`. Unknown, disabled
    and malformed keys cost the same argon2id.
    """

    def __init__(self, *, settings: RegistrySettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost, memory_cost=settings.argon2_memory_kib, parallelism=1
        )
        self._threads = ThreadPoolExecutor(settings.argon2_threads, thread_name_prefix="argon2")
        self._process_key = secrets.token_bytes(32)
        self._nobody: str | None = None
        self._keys: dict[str, dict[str, ApiKeyDefinition]] = {}
        self._verified: dict[bytes, _Verified] = {}
        self._checks: dict[bytes, asyncio.Task[_Verified | None]] = {}

    def replace(self, app_id: str, keys: Mapping[str, ApiKeyDefinition]) -> None:
        """The keys of an application from now on; none means that it is gone."""
        for of_key in self._keys.values():
            of_key.pop(app_id, None)
        for key_id, key in keys.items():
            self._keys.setdefault(key_id, {})[app_id] = key
        self._keys = {key_id: of_key for key_id, of_key in self._keys.items() if of_key}
        self._verified = {digest: known for digest, known in self._verified.items() if self._identity(known)}

    def known(self, raw: str) -> ApiKeyIdentity | None:
        """The identity of a key that was checked before; None says only that `validate` must be asked."""
        known = self._verified.get(self._digest(raw))
        return None if known is None else self._identity(known)

    async def validate(self, raw: str) -> ApiKeyIdentity | None:
        """The identity of a raw key; None when it is unknown, disabled or wrong. TooManyRequests while many wait."""
        digest = self._digest(raw)
        known = self._verified.get(digest)
        if known is None:
            check = self._checks.get(digest)
            if check is None:
                if len(self._checks) >= _MOST_WAITING:
                    raise TooManyRequests("Too many unknown keys are being checked; try again.", retry_after_s=1.0)
                check = self._checks[digest] = asyncio.ensure_future(self._check(raw))
                check.add_done_callback(lambda _: self._checks.pop(digest, None))
            known = await asyncio.shield(check)
        identity = None if known is None else self._identity(known)
        if known is not None and identity is not None:
            self._verified[digest] = known
        return identity

    async def create(self, permissions: Iterable[str], description: str) -> tuple[str, ApiKeyDefinition]:
        """A new raw key, to be shown once, and what is kept of it."""
        key_id = secrets.token_hex(8)
        raw = f"uhlp_{key_id}_{secrets.token_hex(24)}"
        key_hash = await self._in_thread(self._hasher.hash, raw)
        kept = ApiKeyDefinition(
            key_id=key_id, key_hash=key_hash, description=description, permissions=tuple(permissions)
        )
        return raw, kept

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _check(self, raw: str) -> _Verified | None:
        found = _RAW.fullmatch(raw)
        of_key = self._keys.get(found["key_id"], {}) if found else {}
        enabled = [_Verified(app_id, key.key_id, key.key_hash) for app_id, key in of_key.items() if key.enabled]
        if not enabled:
            await self._in_thread(self._fits_nobody, raw)
        for candidate in enabled:
            if await self._in_thread(self._fits, candidate.key_hash, raw):
                return candidate
        return None

    async def _in_thread(self, work: Callable[..., T], *arguments: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _fits_nobody(self, raw: str) -> None:
        """Cost what a key that exists costs."""
        if self._nobody is None:
            self._nobody = self._hasher.hash(secrets.token_hex(16))
        self._fits(self._nobody, raw)

    def _fits(self, key_hash: str, raw: str) -> bool:
        try:
            return self._hasher.verify(key_hash, raw)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

    def _identity(self, known: _Verified) -> ApiKeyIdentity | None:
        key = self._keys.get(known.key_id, {}).get(known.app_id)
        if key is None or not key.enabled or not hmac.compare_digest(key.key_hash, known.key_hash):
            return None
        return ApiKeyIdentity(known.app_id, known.key_id, key.permissions)

    def _digest(self, raw: str) -> bytes:
        return blake2b(raw.encode(errors="surrogatepass"), key=self._process_key, digest_size=32).digest()
