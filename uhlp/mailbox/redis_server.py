"""MailboxRedis: the connections of mailboxes to a Redis server."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from uhlp.clock import Clock, SystemClock
from uhlp.errors import MailboxClosed, MailboxUnavailable
from uhlp.mailbox.cancelling import cancellable
from uhlp.state.reconnecting import Reconnecting

_MOST_CONNECTIONS = 256
"""Every `receive` that waits holds one."""


class MailboxRedis:
    """Every step ends within `timeout_s`, or twice that, and is never done twice: an answer may have been lost.

    While nothing answers, steps fail at once with MailboxUnavailable, and one after another tries to connect again.
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
        self._timeout_s = timeout_s
        self._reconnecting = Reconnecting(clock=clock or SystemClock())
        self._scripts: dict[str, AsyncScript] = {}
        self._is_closed = False

    async def run(self, script: str, keys: Iterable[str], arguments: Iterable[str | bytes | int]) -> Any:
        """Run a script, which Redis does in one piece."""
        await self._may_ask()
        with self.translated():
            if script not in self._scripts:
                self._scripts[script] = self._redis.register_script(script)
            result = await cancellable(self._scripts[script](keys=list(keys), args=list(arguments)))
        self._reconnecting.succeeded()
        return result

    @asynccontextmanager
    async def bell(self, channel: str) -> AsyncIterator["ChannelBell"]:
        """What a message on the channel rings."""
        await self._may_ask()
        pubsub = self._redis.pubsub()
        try:
            with self.translated():
                await cancellable(pubsub.subscribe(channel))
                await cancellable(pubsub.get_message(timeout=self._timeout_s))  # from here on nothing is missed
            yield ChannelBell(pubsub, server=self)
        finally:
            with suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def ring(self, channel: str) -> None:
        """Ring from outside a script."""
        await self._may_ask()
        with self.translated():
            await cancellable(self._redis.publish(channel, b""))
        self._reconnecting.succeeded()

    async def aclose(self) -> None:
        """Let go of the connections; every later step raises MailboxClosed."""
        self._is_closed = True
        await self._redis.aclose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise MailboxUnavailable for what the library raises."""
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            self._reconnecting.failed(str(error))
            raise _unavailable(str(error)) from error
        except RedisError as error:
            raise _unavailable(str(error)) from error

    async def _may_ask(self) -> None:
        if self._is_closed:
            raise MailboxClosed("the connection of the mailbox is closed")
        if not self._reconnecting.may_try():
            await asyncio.sleep(0)  # whoever asks again and again lets others run
            raise _unavailable(self._reconnecting.reason)


class ChannelBell:
    """Rings in every process that listens."""

    def __init__(self, pubsub: PubSub, *, server: MailboxRedis) -> None:
        self._pubsub = pubsub
        self._server = server

    async def wait(self, timeout_s: float) -> None:
        with self._server.translated():
            await cancellable(self._pubsub.get_message(timeout=timeout_s))


def _unavailable(reason: str) -> MailboxUnavailable:
    return MailboxUnavailable(f"Redis does not answer ({reason}); check the server", retry_after_s=1.0)
