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
    RuntimeValue,
    check_increment,
    check_ttl,
    decode,
    encode,
    not_an_integer,
)

T = TypeVar("T")
_SCAN_COUNT = 500


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

    async def ping(self) -> None:
        await self._run(lambda: self._redis.ping())

    async def aclose(self) -> None:
        await self._redis.aclose()

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
