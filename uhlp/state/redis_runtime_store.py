"""The runtime store on a Redis server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from uhlp.clock import Clock, SystemClock
from uhlp.errors import RuntimeStoreUnavailable
from uhlp.state.reconnecting import Reconnecting
from uhlp.state.runtime_store import (
    MISSING,
    MOST_LISTED,
    Lease,
    RuntimeValue,
    StreamEntry,
    check_increment,
    check_lease,
    check_limit,
    check_most,
    check_ttl,
    decode,
    encode,
    holds_a_stream,
    holds_a_value,
    not_an_integer,
)

T = TypeVar("T")
_SCAN_COUNT = 500
_MOST_CONNECTIONS = 64

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
_COMPARE_AND_SET = """
local present = redis.call('GET', KEYS[1])
if ARGV[1] == '' then
  if present then return 0 end
elseif present ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
_APPEND = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local number = '1'
if last[1] then number = string.format('%.0f', tonumber(string.match(last[1][1], '%d+')) + 1) end
redis.call('XADD', KEYS[1], 'MAXLEN', '=', ARGV[2], number .. '-0', 'entry', ARGV[1])
if ARGV[3] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return number
"""
# A lease is one hash that never expires, so that its last token is never given again; `until` is by Redis' own clock.


class RedisRuntimeStore:
    """Values of all applications in one Redis database; every call ends within `timeout_s`, or twice that.

    A server that is down, full, loading or read-only gives RuntimeStoreUnavailable. What may be done twice is tried
    twice; an increment, an append or a comparison whose answer is lost is not. While nothing answers, calls fail at
    once, and one call after another tries to connect again, at growing distances up to a second.
    """

    def __init__(self, url: str, *, timeout_s: float = 2.0, clock: Clock | None = None) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._reconnecting = Reconnecting(clock=clock or SystemClock())

    async def set(self, key: str, value: Any, *, ttl_seconds: float | None = None) -> None:
        raw, px = encode(value), _milliseconds(ttl_seconds)
        await self._run(lambda: self._redis.set(key, raw, px=px))

    async def get(self, key: str) -> RuntimeValue:
        try:
            raw = await self._run(lambda: self._redis.get(key))
        except ResponseError as error:
            raise holds_a_stream(key) from error
        return MISSING if raw is None else decode(raw)

    async def compare_and_set(
        self, key: str, expected: RuntimeValue, value: Any, *, ttl_seconds: float | None = None
    ) -> bool:
        before, raw = encode(expected.value) if expected.found else b"", encode(value)
        try:
            return bool(await self._script(_COMPARE_AND_SET, key, before, raw, _milliseconds(ttl_seconds) or ""))
        except ResponseError as error:
            raise holds_a_stream(key) from error

    async def delete(self, key: str) -> bool:
        return bool(await self._run(lambda: self._redis.delete(key)))

    async def increment(self, key: str, by: int = 1) -> int:
        check_increment(by)
        try:
            return int(await self._run(lambda: self._redis.incrby(key, by), may_repeat=False))
        except ResponseError as error:
            raise not_an_integer(key) from error

    async def append(self, key: str, entry: Any, *, most: int, ttl_seconds: float | None = None) -> int:
        raw, px = encode(entry), _milliseconds(ttl_seconds)
        try:
            return int(await self._script(_APPEND, key, raw, check_most(most), px or ""))
        except ResponseError as error:
            raise holds_a_value(key) from error

    async def entries(self, key: str, *, after: int = 0, limit: int = MOST_LISTED) -> list[StreamEntry]:
        first, most = f"({max(0, after)}-0", check_limit(limit)
        try:
            found: Any = await self._run(lambda: self._redis.xrange(key, first, "+", most))
        except ResponseError as error:
            raise holds_a_value(key) from error
        return [StreamEntry(int(name.partition(b"-")[0]), decode(fields[b"entry"]).value) for name, fields in found]

    async def keys(self, prefix: str, *, after: str = "", limit: int = MOST_LISTED) -> list[str]:
        check_limit(limit)
        found = sorted(key.decode() for key in await self._run(lambda: self._scan(prefix)))
        return [key for key in found if key > after][:limit]

    async def count(self, prefix: str) -> int:
        return len(await self._run(lambda: self._scan(prefix)))

    async def delete_prefix(self, prefix: str) -> int:
        async def remove() -> int:
            keys = await self._scan(prefix)
            batches = [keys[at : at + _SCAN_COUNT] for at in range(0, len(keys), _SCAN_COUNT)]
            return sum([int(await self._redis.unlink(*batch)) for batch in batches])

        return await self._run(remove)

    async def take_lease(self, key: str, holder: str, *, ttl_seconds: float, above: int = 0) -> Lease:
        ttl = check_lease(ttl_seconds, above)
        found = await self._script(_TAKE, _lease_key(key), holder, max(1, round(ttl * 1000)), above)
        return Lease(found[0].decode(), int(found[1]))

    async def release_lease(self, key: str, holder: str) -> bool:
        return bool(await self._script(_RELEASE, _lease_key(key), holder))

    async def lease(self, key: str) -> Lease | None:
        found = await self._script(_LEASE, _lease_key(key))
        return None if found is None else Lease(found[0].decode(), int(found[1]))

    async def run_cycle(self) -> None:
        """Nothing: Redis sweeps by itself."""

    async def ping(self) -> None:
        await self._run(lambda: self._redis.ping())

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _scan(self, prefix: str) -> list[bytes]:
        """The keys with a prefix, each once; this walks through the whole database."""
        pattern = "".join(f"\\{char}" if char in "*?[]\\" else char for char in prefix) + "*"
        found = [key async for key in self._redis.scan_iter(match=pattern, count=_SCAN_COUNT)]
        return list(dict.fromkeys(found))

    async def _script(self, script: str, key: str, *arguments: str | bytes | int) -> Any:
        """Run a script, which Redis does in one piece, on a key."""
        return await self._run(lambda: self._redis.eval(script, 1, key, *arguments), may_repeat=False)

    async def _run(self, call: Callable[[], Awaitable[T]], *, may_repeat: bool = True) -> T:
        if not self._reconnecting.may_try():
            await asyncio.sleep(0)  # whoever asks again and again lets others run
            raise _unavailable(self._reconnecting.reason)
        try:
            result = await self._attempt(call, may_repeat=may_repeat)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self._reconnecting.failed(str(error))
            raise _unavailable(str(error)) from error
        except ResponseError as error:
            text = str(error)
            if "WRONGTYPE" in text or text.startswith(("value is not an integer", "increment or decrement")):
                raise
            raise _unavailable(text) from error
        except RedisError as error:
            raise _unavailable(str(error)) from error
        self._reconnecting.succeeded()
        return result

    async def _attempt(self, call: Callable[[], Awaitable[T]], *, may_repeat: bool) -> T:
        try:
            return await call()
        except (RedisConnectionError, OSError):
            if not may_repeat:
                raise
            return await call()  # a connection that had died unnoticed; the next one is new


def _lease_key(key: str) -> str:
    return f"lease:{key}"


def _milliseconds(ttl_seconds: float | None) -> int | None:
    ttl = check_ttl(ttl_seconds)
    return None if ttl is None else max(1, round(ttl * 1000))


def _unavailable(reason: str) -> RuntimeStoreUnavailable:
    return RuntimeStoreUnavailable(
        f"Redis does not answer ({reason}); check runtime.url and the server", retry_after_s=1.0
    )
