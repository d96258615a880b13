"""RedisQueue: the messages of one mailbox on a Redis server."""

import secrets
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any

from uhlp.mailbox import redis_scripts
from uhlp.mailbox.message_queue import Delivery, MailboxCounts, QueueLimits, full, is_reply_name
from uhlp.mailbox.redis_server import ChannelBell, MailboxRedis


class RedisQueue:
    """Keys stand under `uhlp:mailbox:{<name>}:`, the dead letters under `…:dead` there.

    Whoever waits hears of a ready message at once; only one that waits while the connection breaks may hear of it
    `longest_wait_s` late.
    """

    longest_wait_s = 1.0

    def __init__(self, name: str, *, server: MailboxRedis, limits: QueueLimits) -> None:
        self._name = name
        self._server = server
        self._limits = limits
        parts = ("ready", "leased", "delayed", "messages", "dead", "dead:messages")
        self._keys = [f"uhlp:mailbox:{{{name}}}:{part}" for part in parts]
        ttl_ms: int | str = max(1, round(limits.reply_ttl_s * 1000)) if is_reply_name(name) else ""
        self._common = (limits.max_deliveries, ttl_ms, limits.capacity, _microseconds(self.longest_wait_s))

    def beside(self, name: str) -> "RedisQueue":
        return RedisQueue(name, server=self._server, limits=self._limits)

    async def put(self, body: bytes, *, delay_s: float, reply_to: str) -> str:
        message_id = await self._put(body, delay_s=delay_s, reply_to=reply_to)
        if message_id is None:
            raise full(self._name, self._limits)
        return message_id

    async def take(self, most: int, *, timeout_s: float) -> tuple[list[Delivery], float]:
        next_in, *taken = await self._step(redis_scripts.TAKE, most, _microseconds(timeout_s))
        return [_delivery(fields) for fields in taken], int(next_in) / 1e6 if next_in else inf

    async def acknowledge(self, message_id: str, token: int) -> bool:
        return bool(await self._step(redis_scripts.ACKNOWLEDGE, message_id, token))

    async def give_back(self, message_id: str, token: int, *, delay_s: float, reason: str) -> bool:
        return bool(await self._step(redis_scripts.GIVE_BACK, message_id, token, _microseconds(delay_s), reason))

    async def extend(self, message_id: str, token: int, *, timeout_s: float) -> bool:
        return bool(await self._step(redis_scripts.EXTEND, message_id, token, _microseconds(timeout_s)))

    async def bury(self, message_id: str, token: int, *, reason: str) -> bool:
        return bool(await self._step(redis_scripts.BURY, message_id, token, reason))

    async def undo(self, message_id: str, token: int, *, delay_s: float = 0.0) -> bool:
        return bool(await self._step(redis_scripts.UNDO, message_id, token, _microseconds(delay_s)))

    async def reply(self, to: str, body: bytes, *, in_reply_to: str) -> bool:
        queue = RedisQueue(to, server=self._server, limits=self._limits)
        return await queue._put(body, in_reply_to=in_reply_to) is not None

    async def counts(self) -> MailboxCounts:
        return MailboxCounts(*(await self._step(redis_scripts.COUNTS)))

    async def dead(self, most: int) -> list[tuple[Delivery, str, float]]:
        found = await self._step(redis_scripts.DEAD, most)
        return [(_delivery(fields), reason.decode(), int(died_at) / 1e6) for reason, died_at, *fields in found]

    async def revive(self, message_id: str) -> bool:
        done = int(await self._step(redis_scripts.REVIVE, message_id, self._limits.total_bytes))
        if done < 0:
            raise full(self._name, self._limits)
        return bool(done)

    async def purge_dead(self) -> int:
        return int(await self._step(redis_scripts.PURGE_DEAD))

    async def clear(self) -> int:
        return int(await self._step(redis_scripts.CLEAR))

    def bell(self) -> AbstractAsyncContextManager[ChannelBell]:
        return self._server.bell(self._keys[0])

    async def ring(self) -> None:
        await self._server.ring(self._keys[0])

    async def _put(self, body: bytes, *, delay_s: float = 0.0, reply_to: str = "", in_reply_to: str = "") -> str | None:
        """The new message's id; None when there is no room."""
        random = secrets.token_hex(8)
        found = await self._step(redis_scripts.PUT, body, _microseconds(delay_s), reply_to, in_reply_to, random,
                                 self._limits.total_bytes)  # fmt: skip
        return None if found is None else found.decode()

    async def _step(self, script: str, *arguments: str | bytes | int) -> Any:
        return await self._server.run(script, self._keys, (*self._common, *arguments))


def _delivery(fields: list[Any]) -> Delivery:
    message_id, token, body, enqueued_at, reply_to, in_reply_to, deliveries = fields
    return Delivery(
        id=message_id.decode(),
        token=int(token),
        delivery_count=int(deliveries),
        body=body,
        enqueued_at=int(enqueued_at) / 1e6,
        reply_to=reply_to.decode(),
        in_reply_to=in_reply_to.decode(),
    )


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
