"""MailboxMachine: senders, receivers with fresh and stale handles, and time, in any order, held against a model.

The model knows of each message where it must be. Where real time passes, a lease or a delay may be over or not while
a call is on its way: between the server's time before and after it the model takes either for right, and nothing else.
With a clock that stands still it knows exactly.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydantic import BaseModel

from uhlp.errors import LeaseLost, MailboxFull
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.message import Message
from uhlp.mailbox.message_queue import QueueLimits

LIMITS = QueueLimits(capacity=4, max_deliveries=2)
SOON_S, LATER_S, LONG_S = 0.003, 0.02, 600.0
TIMES = st.sampled_from([SOON_S, LATER_S, LONG_S])
WHICH = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 8])
"""From the newest back. A machine draws nothing from what happened, for real parts do not repeat themselves exactly."""
DELAYS = st.sampled_from([0.0, 0.0, SOON_S, LONG_S])


class Task(BaseModel):
    number: int


class Other(BaseModel):
    """What no `Task` can be read from."""

    title: str


@dataclass
class Known:
    """What the model knows of one message; while it is leased or delayed its time is over between `low` and `high`."""

    place: str
    is_readable: bool
    turn: int | None
    """Its place in the order of sending, until it was delivered or if it was not delayed."""
    deliveries: int = 0
    token: int = 0
    low: float = 0.0
    high: float = 0.0

    def is_over(self, now: float) -> bool:
        return self.place in ("leased", "delayed") and self.high <= now

    def may_be_over(self, now: float) -> bool:
        return self.place in ("leased", "delayed") and self.low <= now

    def end(self) -> None:
        """Its lease or delay is over."""
        self.place = "dead" if self.place == "leased" and self.deliveries >= LIMITS.max_deliveries else "ready"

    def ends_dead(self) -> bool:
        return self.place == "leased" and self.deliveries >= LIMITS.max_deliveries


class MailboxMachine(RuleBasedStateMachine):
    """`box` and `others` open one name; `now` reads the clock that judges, of which `scale` ticks make a second."""

    box: Mailbox[Task, Any]
    others: Mailbox[Other, Any]
    scale: int | float = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.known: dict[str, Known] = {}
        self.handles: list[Message[Task, Any]] = []
        self.turns = 0
        self.highest_token = 0
        self.runner.run(self.open())

    async def open(self) -> None:
        raise NotImplementedError

    async def shut(self) -> None:
        raise NotImplementedError

    async def now(self) -> float:
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        self.runner.run(self.shut())
        self.runner.close()

    def timed(self, call: Coroutine[Any, Any, Any]) -> tuple[float, float, Any]:
        """The times before and after a call, which the model has settled, and its result or its refusal."""

        async def run() -> tuple[float, float, Any]:
            before = await self.now()
            try:
                result = await call
            except (LeaseLost, MailboxFull) as error:
                result = error
            return before, await self.now(), result

        before, after, result = self.runner.run(run())
        for one in self.known.values():
            if one.is_over(before):
                one.end()
        return before, after, result

    def ticks(self, seconds: float) -> float:
        return round(seconds * self.scale) if self.scale != 1.0 else seconds

    def at(self, *places: str) -> list[Known]:
        return [one for one in self.known.values() if one.place in places]

    def unsure(self, after: float) -> list[Known]:
        """What was over or not while the call ran."""
        return [one for one in self.known.values() if one.may_be_over(after)]

    # What happens

    @rule(delay_s=DELAYS, is_readable=st.sampled_from([True, True, True, False]))
    def send(self, delay_s: float, is_readable: bool) -> None:
        self.turns += 1
        if is_readable:
            call = self.box.send(Task(number=self.turns), delay_s=delay_s)
        else:
            call = self.others.send(Other(title="x"), delay_s=delay_s)
        before, after, sent = self.timed(call)
        dying = sum(one.ends_dead() for one in self.unsure(after))
        kept, dead = len(self.at("ready", "leased", "delayed")), len(self.at("dead"))
        if isinstance(sent, MailboxFull):
            assert max(kept, dead + dying) >= LIMITS.capacity
            return
        assert max(kept - dying, dead) < LIMITS.capacity
        assert sent not in self.known
        self.known[sent] = Known("ready", is_readable, self.turns)
        if delay_s:
            self._until(self.known[sent], "delayed", before, after, delay_s)
            self.known[sent].turn = None

    @rule(most=st.integers(1, 4), timeout_s=TIMES)
    def receive(self, most: int, timeout_s: float) -> None:
        before, after, messages = self.timed(
            self.box.receive(max_messages=most, visibility_timeout=timeout_s, wait_time_seconds=0)
        )
        self._received(before, after, messages, most, timeout_s)

    @rule(turns=st.integers(0, 12), most=st.integers(1, 4), wait_s=st.sampled_from([0, 30]))
    def receive_and_be_cancelled(self, turns: int, most: int, wait_s: int) -> None:
        async def call() -> list[Message[Task, Any]] | None:
            task = asyncio.ensure_future(
                self.box.receive(max_messages=most, visibility_timeout=LONG_S, wait_time_seconds=wait_s)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=30)
            assert task.done(), "cancelled, and waiting on"
            return None if task.cancelled() else task.result()

        before, after, messages = self.timed(call())
        if messages is None:
            self._see_the_dead(after)
        else:
            self._received(before, after, messages, most, LONG_S)

    @rule(which=WHICH)
    def acknowledge(self, which: int) -> None:
        if not self.handles:
            return
        message, known = self._some_handle(which)
        _, after, refused = self.timed(message.acknowledge())
        if self._held(message, known, after, refused):
            known.place = "done"

    @rule(which=WHICH, delay_s=DELAYS)
    def give_back(self, which: int, delay_s: float) -> None:
        if not self.handles:
            return
        message, known = self._some_handle(which)
        before, after, refused = self.timed(message.nack(visibility_timeout=delay_s))
        if self._held(message, known, after, refused):
            known.end()
            if known.place == "ready" and delay_s:
                self._until(known, "delayed", before, after, delay_s)

    @rule(which=WHICH, delay_s=DELAYS)
    def postpone(self, which: int, delay_s: float) -> None:
        if not self.handles:
            return
        message, known = self._some_handle(which)
        before, after, refused = self.timed(message.postpone(delay_s))
        if self._held(message, known, after, refused):
            known.place, known.deliveries = "ready", known.deliveries - 1
            if delay_s:
                self._until(known, "delayed", before, after, delay_s)

    @rule(which=WHICH, timeout_s=TIMES)
    def extend(self, which: int, timeout_s: float) -> None:
        if not self.handles:
            return
        message, known = self._some_handle(which)
        before, after, refused = self.timed(message.extend(timeout_s))
        if self._held(message, known, after, refused):
            known.low = max(known.low, before + self.ticks(timeout_s))
            known.high = max(known.high, after + self.ticks(timeout_s))

    @rule(which=WHICH)
    def reject(self, which: int) -> None:
        if not self.handles:
            return
        message, known = self._some_handle(which)
        _, after, refused = self.timed(message.reject("no"))
        if self._held(message, known, after, refused):
            known.place = "dead"

    @rule(seconds=st.sampled_from([0.001, SOON_S, LATER_S, 0.03]))
    def let_time_pass(self, seconds: float) -> None:
        self.runner.run(self.pass_time(seconds))

    @rule(which=WHICH)
    def revive(self, which: int) -> None:
        if not self.known:
            return
        message_id = sorted(self.known)[-1 - which % len(self.known)]
        _, after, revived = self.timed(self.box.revive(message_id))
        known = self.known[message_id]
        if isinstance(revived, MailboxFull):
            assert len(self.at("ready", "leased", "delayed")) >= LIMITS.capacity
        elif revived:
            assert known.place == "dead" or (known.may_be_over(after) and known.ends_dead())
            self.known[message_id] = Known("ready", known.is_readable, None)
        else:
            assert known.place != "dead"

    @rule()
    def purge_the_dead(self) -> None:
        self._see_the_dead(self.runner.run(self.now()))
        _, after, removed = self.timed(self.box.purge_dead_letters())
        dead = self.at("dead")
        dying = [one for one in self.unsure(after) if one.ends_dead()]
        assert len(dead) <= removed <= len(dead) + len(dying)
        for one in dead:
            one.place = "done"
        if removed > len(dead):  # in the order in which they ended
            for one in sorted(dying, key=lambda one: one.low)[: removed - len(dead)]:
                one.place = "done"

    # What must hold

    @invariant()
    def every_message_is_in_its_one_place(self) -> None:
        _, after, counts = self.timed(self.box.counts())
        unsure = self.unsure(after)
        dying = sum(one.ends_dead() for one in unsure)
        assert counts.ready + counts.leased + counts.delayed + counts.dead == len(self.known) - len(self.at("done"))
        for place in ("leased", "delayed"):
            here = len(self.at(place))
            assert here - sum(one.place == place for one in unsure) <= getattr(counts, place) <= here
        assert len(self.at("ready")) <= counts.ready <= len(self.at("ready")) + len(unsure) - dying
        assert len(self.at("dead")) <= counts.dead <= len(self.at("dead")) + dying

    def _received(
        self, before: float, after: float, messages: list[Message[Task, Any]], most: int, timeout_s: float
    ) -> None:
        ready = {id(one) for one in self.at("ready")}
        assert len(messages) <= most
        assert len({message.id for message in messages}) == len(messages)
        turns = []
        for message in messages:
            known = self.known[message.id]
            assert id(known) in ready or (known.may_be_over(after) and not known.ends_dead())
            assert known.is_readable
            assert message.delivery_count == known.deliveries + 1
            assert message.token > self.highest_token
            self.highest_token = message.token
            if known.turn is not None:
                turns.append(known.turn)
            known.deliveries, known.token, known.turn = message.delivery_count, message.token, None
            self._until(known, "leased", before, after, timeout_s)
            self.handles.append(message)
        buried = self._see_the_dead(after)  # only now: a short lease on its last delivery may be over already
        lapses = before + self.ticks(timeout_s) <= after  # the lease on what cannot be read, before it was buried
        left = [one for one in self.at("ready") if one.is_readable or not lapses]
        assert len(messages) == most or buried or not left
        assert turns == sorted(turns)
        assert not turns or all(one.turn is None or one.turn > turns[-1] for one in left)

    def _see_the_dead(self, after: float) -> bool:
        """Whether unreadable messages were found meanwhile, which makes them dead letters."""
        found = False
        for dead in self.runner.run(self.box.dead_letters(limit=1000)):
            known = self.known[dead.id]
            if known.place == "dead":
                continue
            if known.is_readable:
                assert known.ends_dead()
                assert known.may_be_over(self.runner.run(self.now()))
            else:
                assert known.place == "ready" or known.may_be_over(after)
                found = True
            known.place = "dead"
        return found

    def _some_handle(self, which: int) -> tuple[Message[Task, Any], Known]:
        message = self.handles[-1 - which % len(self.handles)]
        return message, self.known[message.id]

    def _held(self, message: Message[Task, Any], known: Known, after: float, refused: Any) -> bool:
        """Whether the handle's lease was in force; the model follows where it could not know."""
        is_current = known.place == "leased" and known.token == message.token
        if refused is None:
            assert is_current
            return True
        assert isinstance(refused, LeaseLost)
        if is_current:
            assert known.may_be_over(after)
            known.end()
        return False

    def _until(self, known: Known, place: str, before: float, after: float, seconds: float) -> None:
        known.place = place
        known.low, known.high = before + self.ticks(seconds), after + self.ticks(seconds)
