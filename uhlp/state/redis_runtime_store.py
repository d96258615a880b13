"""The runtime store on a Redis server."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from uhlp.errors import RuntimeStoreUnavailable
from uhlp.state.runtime_store import (
    MISSING,
    Lease,
    RuntimeValue,
    check_increment,
    check_lease,
    check_ttl,
    decode,
    encode,
    not_an_integer,
)

T = TypeVar("T")
_SCAN_COUNT = 500

_HELD = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('HMGET', KEYS[1], 'holder', 'token', 'until')
local held = kept[1] and kept[3] and tonumber(kept[3]) > now
"""
_TAKE = (
    _HELD
    + """
if held and kept[1] ~= ARGV[1] then return {kept[1], kept[2]} end
local token = kept[2]
if not held then token = string.format('%.0f', math.max(tonumber(kept[2] or '0'), tonumber(ARGV[3])) + 1) end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'token', token, 'until', string.format('%.0f', now + ARGV[2]))
return {ARGV[1], token}
"""
)
_RELEASE = (
    _HELD
    + """
if not held or kept[1] ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'holder')
return 1
"""
)
_LEASE = _HELD + "if held then return {kept[1], kept[2]} else return false end"
# A lease is one hash that never expires, so that its last token is never given again; `until` is by Redis' own clock.


class RedisRuntimeStore:
    """Values of all applications in one Redis database; every call ends within `timeout_s`, twice tried.

    A server that is down, full, loading or read-only gives RuntimeStoreUnavailable; the next call connects again.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 1),
            retry_on_error=[RedisConnectionError],
        )

    async def set(self, key: str, value: Any, *, ttl_seconds: float | None = None) -> None:
        raw, ttl = encode(value), check_ttl(ttl_seconds)
        px = None if ttl is None else max(1, round(ttl * 1000))
        await self._run(lambda: self._redis.set(key, raw, px=px))

    async def get(self, key: str) -> RuntimeValue:
        raw = await self._run(lambda: self._redis.get(key))
        return MISSING if raw is None else decode(raw)

    async def delete(self, key: str) -> bool:
        return bool(await self._run(lambda: self._redis.delete(key)))

    async def increment(self, key: str, by: int = 1) -> int:
        check_increment(by)
        try:
            return int(await self._run(lambda: self._redis.incrby(key, by)))
        except ResponseError as error:
            raise not_an_integer(key) from error

    async def delete_prefix(self, prefix: str) -> int:
        pattern = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix) + "*"

        async def remove() -> int:
            keys = [key async for key in self._redis.scan_iter(match=pattern, count=_SCAN_COUNT)]
            batches = [keys[at : at + _SCAN_COUNT] for at in range(0, len(keys), _SCAN_COUNT)]
            return sum([int(await self._redis.unlink(*batch)) for batch in batches])

        return await self._run(remove)

    async def take_lease(self, key: str, holder: str, *, ttl_seconds: float, above: int = 0) -> Lease:
        ttl = check_lease(ttl_seconds, above)
        found = await self._script(_TAKE, key, holder, max(1, round(ttl * 1000)), above)
        return Lease(found[0].decode(), int(found[1]))

    async def release_lease(self, key: str, holder: str) -> bool:
        return bool(await self._script(_RELEASE, key, holder))

    async def lease(self, key: str) -> Lease | None:
        found = await self._script(_LEASE, key)
        return None if found is None else Lease(found[0].decode(), int(found[1]))

    async def ping(self) -> None:
        await self._run(lambda: self._redis.ping())

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _script(self, script: str, key: str, *arguments: str | int) -> Any:
        """Run a script, which Redis does in one piece, on a lease."""
        return await self._run(lambda: self._redis.eval(script, 1, f"lease:{key}", *arguments))

    async def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except ResponseError as error:
            if str(error).startswith(("value is not an integer", "increment or decrement", "WRONGTYPE")):
                raise
            raise _unavailable(error) from error
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> RuntimeStoreUnavailable:
    return RuntimeStoreUnavailable(
        f"Redis does not answer ({error}); check runtime.url and the server", retry_after_s=1.0
    )
