"""SqliteQueue: the messages of one mailbox in a MailboxFile."""

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import TypeVar

from uhlp.mailbox.mailbox_file import LocalBell, MailboxFile
from uhlp.mailbox.message_queue import (
    Delivery,
    MailboxCounts,
    QueueLimits,
    dead_name,
    full,
    is_reply_name,
)

T = TypeVar("T")
_DELIVERED = "SELECT id, coalesce(token, 0), deliveries, body, enqueued_at, reply_to, in_reply_to"
_LEASED = "WHERE mailbox = ? AND id = ? AND token = ?"


class SqliteQueue:
    """Several processes may have the same one; each sees the others' messages within `longest_wait_s`."""

    def __init__(self, name: str, *, file: MailboxFile, limits: QueueLimits) -> None:
        self._name = name
        self._file = file
        self._limits = limits
        self.longest_wait_s = 5.0 if file.is_own else 0.1

    def beside(self, name: str) -> "SqliteQueue":
        return SqliteQueue(name, file=self._file, limits=self._limits)

    async def put(self, body: bytes, *, delay_s: float, reply_to: str) -> str:
        message_id = await self._put(body, delay_s=delay_s, reply_to=reply_to)
        if message_id is None:
            raise full(self._name, self._limits)
        return message_id

    async def take(self, most: int, *, timeout_s: float) -> tuple[list[Delivery], float]:
        def work(db: sqlite3.Connection, now: float) -> tuple[list[Delivery], float]:
            ready = f"{_DELIVERED} FROM messages WHERE mailbox = ? AND due_at IS NULL ORDER BY position LIMIT ?"
            rows = db.execute(ready, (self._name, most)).fetchall()
            taken = []
            for message_id, _, deliveries, *kept in rows:
                token = self._next_number(db)
                db.execute(
                    "UPDATE messages SET token = ?, due_at = ?, deliveries = deliveries + 1"
                    " WHERE mailbox = ? AND id = ?",
                    (token, now + timeout_s, self._name, message_id),
                )
                taken.append(Delivery(message_id, token, deliveries + 1, *kept))
            due = "SELECT min(due_at) FROM messages WHERE mailbox = ? AND due_at IS NOT NULL"
            next_at = None if taken else db.execute(due, (self._name,)).fetchone()[0]
            return taken, inf if next_at is None else next_at - now

        taken, next_in_s = await self._run(work)
        if taken and timeout_s < self.longest_wait_s:
            self._file.ring(self._name)
        return taken, next_in_s

    async def acknowledge(self, message_id: str, token: int) -> bool:
        leased = (self._name, message_id, token)
        return await self._run(lambda db, now: db.execute(f"DELETE FROM messages {_LEASED}", leased).rowcount == 1)  # noqa: S608 (own words)

    async def give_back(self, message_id: str, token: int, *, delay_s: float, reason: str) -> bool:
        def work(db: sqlite3.Connection, now: float) -> bool:
            deliveries = self._deliveries(db, message_id, token)
            if deliveries is not None:
                self._come_back(db, now, message_id, deliveries, reason, delay_s)
            return deliveries is not None

        return await self._changed(work)

    async def extend(self, message_id: str, token: int, *, timeout_s: float) -> bool:
        statement = f"UPDATE messages SET due_at = max(due_at, ?) {_LEASED}"  # noqa: S608 (own words)
        leased = (self._name, message_id, token)
        return await self._run(lambda db, now: db.execute(statement, (now + timeout_s, *leased)).rowcount == 1)

    async def bury(self, message_id: str, token: int, *, reason: str) -> bool:
        def work(db: sqlite3.Connection, now: float) -> bool:
            if self._deliveries(db, message_id, token) is None:
                return False
            self._bury(db, now, message_id, reason)
            return True

        return await self._run(work)

    async def undo(self, message_id: str, token: int, *, delay_s: float = 0.0) -> bool:
        def work(db: sqlite3.Connection, now: float) -> bool:
            head, due_at = -self._next_number(db), now + delay_s if delay_s else None
            statement = (
                f"UPDATE messages SET token = NULL, due_at = ?, deliveries = deliveries - 1, position = ? {_LEASED}"  # noqa: S608 (own words)
            )
            return db.execute(statement, (due_at, head, self._name, message_id, token)).rowcount == 1

        return await self._changed(work)

    async def reply(self, to: str, body: bytes, *, in_reply_to: str) -> bool:
        queue = SqliteQueue(to, file=self._file, limits=self._limits)
        return await queue._put(body, in_reply_to=in_reply_to) is not None

    async def counts(self) -> MailboxCounts:
        def work(db: sqlite3.Connection, now: float) -> MailboxCounts:
            statement = "SELECT count(*), count(due_at), count(token) FROM messages WHERE mailbox = ?"
            every, due, leased = db.execute(statement, (self._name,)).fetchone()
            return MailboxCounts(every - due, leased, due - leased, self._kept(db, dead_name(self._name))[0])

        return await self._run(work)

    async def dead(self, most: int) -> list[tuple[Delivery, str, float]]:
        def work(db: sqlite3.Connection, now: float) -> list[tuple[Delivery, str, float]]:
            statement = f"{_DELIVERED}, reason, died_at FROM messages WHERE mailbox = ? ORDER BY position LIMIT ?"
            rows = db.execute(statement, (dead_name(self._name), most)).fetchall()
            return [(Delivery(*row[:7]), row[7], row[8]) for row in rows]

        return await self._run(work)

    async def revive(self, message_id: str) -> bool:
        def work(db: sqlite3.Connection, now: float) -> bool:
            statement = (
                "UPDATE messages SET mailbox = ?, position = ?, deliveries = 0, reason = NULL, died_at = NULL"
                " WHERE mailbox = ? AND id = ?"
            )
            values = (self._name, self._next_number(db), dead_name(self._name), message_id)
            if db.execute(statement, values).rowcount == 0:
                return False
            kept, size = self._kept(db, self._name)
            if kept > self._limits.capacity or size > self._limits.total_bytes:
                raise full(self._name, self._limits)
            return True

        return await self._changed(work)

    async def purge_dead(self) -> int:
        dead = (dead_name(self._name),)
        return await self._run(lambda db, now: db.execute("DELETE FROM messages WHERE mailbox = ?", dead).rowcount)

    async def clear(self) -> int:
        both, statement = (self._name, dead_name(self._name)), "DELETE FROM messages WHERE mailbox IN (?, ?)"
        return await self._run(lambda db, now: db.execute(statement, both).rowcount)

    def bell(self) -> AbstractAsyncContextManager[LocalBell]:
        return self._file.bell(self._name)

    async def ring(self) -> None:
        self._file.ring(self._name)

    async def _put(self, body: bytes, *, delay_s: float = 0.0, reply_to: str = "", in_reply_to: str = "") -> str | None:
        """The new message's id; None when there is no room."""

        def work(db: sqlite3.Connection, now: float) -> str | None:
            kept, size = self._kept(db, self._name)
            dead, dead_size = self._kept(db, dead_name(self._name))
            if max(kept, dead) >= self._limits.capacity:
                return None
            if max(size + len(body), dead_size + 1) > self._limits.total_bytes:
                return None
            number = self._next_number(db)
            message_id = f"{number:016d}-{secrets.token_hex(8)}"
            due_at = now + delay_s if delay_s else None
            db.execute(
                "INSERT INTO messages (id, mailbox, position, due_at, body, reply_to, in_reply_to, enqueued_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (message_id, self._name, number, due_at, body, reply_to, in_reply_to, now),
            )
            return message_id

        return await self._changed(work)

    async def _changed(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Run what may let a message become ready, and ring."""
        result = await self._run(work)
        self._file.ring(self._name)
        return result

    async def _run(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Run `work` when it is settled which delays, leases and reply queues are over."""

        def step(db: sqlite3.Connection, now: float) -> T:
            self._settle(db, now)
            return work(db, now)

        return await self._file.run(step)

    def _settle(self, db: sqlite3.Connection, now: float) -> None:
        for (name,) in db.execute("SELECT name FROM mailboxes WHERE expires_at <= ?", (now,)).fetchall():
            db.execute("DELETE FROM messages WHERE mailbox = ?", (name,))
            db.execute("DELETE FROM mailboxes WHERE name = ?", (name,))
        if is_reply_name(self._name):
            for name in (self._name, dead_name(self._name)):
                db.execute(
                    "INSERT INTO mailboxes (name, expires_at) VALUES (?, ?)"
                    " ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at",
                    (name, now + self._limits.reply_ttl_s),
                )
        over = "SELECT id, token, deliveries FROM messages WHERE mailbox = ? AND due_at <= ? ORDER BY due_at, id"
        for message_id, token, deliveries in db.execute(over, (self._name, now)).fetchall():
            spent = 0 if token is None else deliveries  # one that was only delayed has deliveries left
            self._come_back(db, now, message_id, spent, "its lease ran out", 0.0)

    def _come_back(
        self, db: sqlite3.Connection, now: float, message_id: str, deliveries: int, reason: str, delay_s: float
    ) -> None:
        """To the tail, after a delay; after the last delivery to the dead letters."""
        if deliveries >= self._limits.max_deliveries:
            self._bury(db, now, message_id, f"delivered {deliveries} times, at last: {reason}")
            return
        db.execute(
            "UPDATE messages SET token = NULL, due_at = ?, position = ? WHERE mailbox = ? AND id = ?",
            (now + delay_s if delay_s else None, self._next_number(db), self._name, message_id),
        )

    def _bury(self, db: sqlite3.Connection, now: float, message_id: str, reason: str) -> None:
        dead = dead_name(self._name)
        db.execute("INSERT INTO mailboxes (name) VALUES (?) ON CONFLICT DO NOTHING", (dead,))
        db.execute(
            "UPDATE messages SET mailbox = ?, token = NULL, due_at = NULL, position = ?, reason = ?, died_at = ?"
            " WHERE mailbox = ? AND id = ?",
            (dead, self._next_number(db), reason, now, self._name, message_id),
        )

    def _deliveries(self, db: sqlite3.Connection, message_id: str, token: int) -> int | None:
        """How often the message was delivered, if this lease on it is in force."""
        leased = (self._name, message_id, token)
        row = db.execute(f"SELECT deliveries FROM messages {_LEASED}", leased).fetchone()  # noqa: S608 (own words)
        return None if row is None else int(row[0])

    def _next_number(self, db: sqlite3.Connection) -> int:
        """Ids, tokens and places of a mailbox count together, and never back."""
        statement = (
            "INSERT INTO mailboxes (name, counter) VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET counter = counter + 1 RETURNING counter"
        )
        return int(db.execute(statement, (self._name,)).fetchone()[0])

    def _kept(self, db: sqlite3.Connection, name: str) -> tuple[int, int]:
        """How many messages stand there, and the bytes of their bodies."""
        row = db.execute("SELECT kept, bytes FROM mailboxes WHERE name = ?", (name,)).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))
