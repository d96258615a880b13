"""What every Mailbox keeps: the embedded one in a file and in memory, the other one on a real Redis server."""

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from tests.contracts.test_runtime_store import RedisServer
from uhlp.clock import FakeClock
from uhlp.errors import (
    Conflict,
    LeaseLost,
    MailboxClosed,
    MailboxFull,
    MailboxUnavailable,
    PayloadTooLarge,
    ValidationFailed,
)
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.message_queue import MailboxCounts, QueueLimits
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox, SqliteMailbox

LONG_S = 600.0
SHORT_S = 0.02
"""On Redis, whose clock nobody advances, a test waits for this to be over."""

Open = Callable[..., Mailbox[Any, Any]]


class Order(BaseModel):
    """A body of a work queue."""

    number: int
    note: str = ""


class Newer(BaseModel):
    """What an `Order` cannot be read as."""

    title: str


class Done(BaseModel):
    """A reply."""

    total: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    if shutil.which("redis-server") is None:
        if os.environ.get("UHLP_REQUIRE_SERVICES") == "1":
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def name() -> str:
    return f"work-{uuid4().hex}"


@pytest.fixture(params=["sqlite", "memory", "redis"])
async def open_box(request, tmp_path, clock: FakeClock) -> AsyncIterator[Open]:
    """Opens mailboxes that reach each other: `open_box(name, body, reply=…, capacity=…)`."""
    if request.param == "redis":
        client = MailboxRedis(request.getfixturevalue("server").url)
        await until_up(client)

        def opened(name: str, body: Any = Order, *, reply: Any = Done, **limits: Any) -> Mailbox[Any, Any]:
            return RedisMailbox(name=name, body=body, reply=reply, client=client, limits=QueueLimits(**limits))

        yield opened
        await client.aclose()
        return
    if request.param == "sqlite":
        file = MailboxFile(tmp_path / "mailbox.db", clock=clock)

        def opened(name: str, body: Any = Order, *, reply: Any = Done, **limits: Any) -> Mailbox[Any, Any]:
            return SqliteMailbox(name=name, body=body, reply=reply, file=file, limits=QueueLimits(**limits))

        yield opened
        await file.aclose()
        return
    first = InMemoryMailbox(name="first", body=Order, clock=clock)

    def opened(name: str, body: Any = Order, *, reply: Any = Done, **limits: Any) -> Mailbox[Any, Any]:
        return InMemoryMailbox(name=name, body=body, reply=reply, beside=first, limits=QueueLimits(**limits))

    yield opened
    await first.aclose()


@pytest.fixture
def box(open_box: Open, name: str) -> Mailbox[Any, Any]:
    return open_box(name, max_deliveries=3, capacity=5)


async def until_up(client: MailboxRedis) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                return await client.ring("up")
            except MailboxUnavailable:
                continue


async def until_counts(box: Mailbox[Any, Any], expected: MailboxCounts) -> None:
    async with asyncio.timeout(20):
        while await box.counts() != expected:
            pass


async def one(box: Mailbox[Any, Any], **how: Any) -> Any:
    """The one message that is ready."""
    (message,) = await box.receive(**{"visibility_timeout": LONG_S, **how})
    return message


async def send(box: Mailbox[Any, Any], *numbers: int) -> None:
    for number in numbers:
        await box.send(Order(number=number))


async def numbers(box: Mailbox[Any, Any], most: int = 100) -> list[int]:
    return [m.body.number for m in await box.receive(max_messages=most, visibility_timeout=LONG_S)]


async def lapse(box: Mailbox[Any, Any], clock: FakeClock, expected: MailboxCounts) -> None:
    """Let `SHORT_S` be over."""
    clock.advance(1)
    await until_counts(box, expected)


async def test_a_message_is_delivered_once_and_gone_when_it_is_acknowledged(box) -> None:
    sent = await box.send(Order(number=7, note="é"))
    message = await one(box)
    assert (message.id, message.body, message.delivery_count) == (sent, Order(number=7, note="é"), 1)
    assert await box.receive() == []
    assert await box.counts() == MailboxCounts(0, 1, 0, 0)
    await message.acknowledge()
    assert await box.counts() == MailboxCounts(0, 0, 0, 0)


async def test_first_deliveries_keep_the_order_of_sending(box) -> None:
    await send(box, 1, 2, 3, 4)
    assert await numbers(box, 3) == [1, 2, 3]
    await send(box, 5)
    assert await numbers(box) == [4, 5]


async def test_a_message_that_is_given_back_stands_behind_what_was_ready(box) -> None:
    await send(box, 1, 2)
    first = await one(box)
    await first.nack()
    await send(box, 3)
    assert await numbers(box) == [2, 1, 3]


async def test_given_back_for_later_it_comes_when_its_time_is_over(box, clock) -> None:
    await send(box, 1)
    await (await one(box)).nack(visibility_timeout=LONG_S)
    assert await box.counts() == MailboxCounts(0, 0, 1, 0)
    await send(box, 2)
    await (await one(box)).nack(visibility_timeout=SHORT_S)
    await lapse(box, clock, MailboxCounts(1, 0, 1, 0))
    again = await one(box)
    assert (again.body.number, again.delivery_count) == (2, 2)


async def test_a_message_whose_lease_ran_out_comes_again_behind_the_others(box, clock) -> None:
    await send(box, 1)
    late = await one(box, visibility_timeout=SHORT_S)
    await send(box, 2)
    await lapse(box, clock, MailboxCounts(2, 0, 0, 0))
    messages = await box.receive(max_messages=5, visibility_timeout=LONG_S)
    assert [(m.body.number, m.delivery_count) for m in messages] == [(2, 1), (1, 2)]
    assert messages[1].token > late.token


async def test_nobody_settles_a_message_under_a_lease_that_is_over(box, clock) -> None:
    await send(box, 1)
    stale = await one(box, visibility_timeout=SHORT_S)
    await lapse(box, clock, MailboxCounts(1, 0, 0, 0))
    holder = None
    for _ in range(2):  # before and after somebody else has it
        for settle in (stale.acknowledge(), stale.nack(), stale.extend(LONG_S), stale.reject("no")):
            with pytest.raises(LeaseLost) as caught:
                await settle
            assert isinstance(caught.value, Conflict)
        holder = holder or await one(box)
    assert await box.counts() == MailboxCounts(0, 1, 0, 0)
    await holder.acknowledge()
    with pytest.raises(LeaseLost):
        await holder.acknowledge()


async def test_extending_holds_the_lease_and_never_shortens_it(box, clock) -> None:
    await send(box, 1, 2)
    held = await one(box, visibility_timeout=0.9)  # of Redis' own time: enough to ask for more
    await held.extend(LONG_S)
    await held.extend(0.01)
    await one(box, visibility_timeout=0.9)
    await lapse(box, clock, MailboxCounts(1, 1, 0, 0))
    await held.acknowledge()


async def test_after_its_last_delivery_a_message_is_a_dead_letter_with_its_reason(box, clock) -> None:
    await send(box, 1)
    for count in (1, 2):
        message = await one(box)
        assert message.delivery_count == count
        await message.nack()
    await one(box, visibility_timeout=SHORT_S)
    await lapse(box, clock, MailboxCounts(0, 0, 0, 1))
    assert await box.receive() == []
    (dead,) = await box.dead_letters()
    assert (dead.id, dead.delivery_count) == (message.id, 3)
    assert dead.reason == "delivered 3 times, at last: its lease ran out"
    assert dead.died_at >= dead.enqueued_at
    assert Order.model_validate_json(dead.body) == Order(number=1)


async def test_the_reason_of_the_last_return_is_kept(box) -> None:
    await send(box, 1)
    for reason in ("first", "second", "no luck"):
        await (await one(box)).nack(reason=reason, visibility_timeout=0)
    assert [dead.reason for dead in await box.dead_letters()] == ["delivered 3 times, at last: no luck"]


async def test_a_reason_of_any_text_is_kept_in_its_beginning(box) -> None:
    await send(box, 1)
    await (await one(box)).reject("\x00é\ud800" + "x" * 5_000)
    (dead,) = await box.dead_letters()
    assert dead.reason == "\x00é?" + "x" * 997


async def test_what_is_rejected_is_dead_at_once_and_may_be_revived(box) -> None:
    await send(box, 1, 2, 3)
    for _ in range(2):
        await (await one(box)).reject("unknown customer")
    first, second = await box.dead_letters()
    assert (first.reason, first.delivery_count) == ("unknown customer", 1)
    assert await box.dead_letters(limit=1) == [first]
    assert await box.revive(first.id)
    assert not await box.revive(first.id)
    assert await box.counts() == MailboxCounts(2, 0, 0, 1)
    messages = await box.receive(max_messages=5, visibility_timeout=LONG_S)
    assert [(m.id, m.delivery_count) for m in messages] == [(messages[0].id, 1), (first.id, 1)]
    assert await box.purge_dead_letters() == 1
    assert await box.dead_letters() == []
    assert not await box.revive(second.id)


async def test_a_body_that_cannot_be_read_is_a_dead_letter_and_holds_up_nobody(open_box, name) -> None:
    await open_box(name, Newer).send(Newer(title="sesame"))
    box = open_box(name)
    await send(box, 2)
    assert [m.body.number for m in await box.receive(max_messages=1, wait_time_seconds=5)] == [2]
    (dead,) = await box.dead_letters()
    assert dead.reason == "the body cannot be read: number: missing"
    assert b"sesame" in dead.body


@pytest.mark.parametrize("body", [{"number": "many"}, 5, None, object(), {}])
async def test_a_body_of_another_type_is_refused(box, body) -> None:
    with pytest.raises(ValidationFailed):
        await box.send(body)
    assert await box.counts() == MailboxCounts(0, 0, 0, 0)


async def test_a_body_that_json_cannot_bring_back_is_refused(open_box, name) -> None:
    for body, value in ((float, float("nan")), (object, object())):
        with pytest.raises(ValidationFailed):
            await open_box(name, body).send(value)


async def test_a_body_over_the_limit_is_refused(open_box, name) -> None:
    box = open_box(name, body_bytes=100)
    with pytest.raises(PayloadTooLarge):
        await box.send(Order(number=1, note="x" * 100))
    await box.send(Order(number=1, note="x" * 50))


async def test_capacity_holds_however_many_send_at_once(box) -> None:
    sent = await asyncio.gather(*(box.send(Order(number=n)) for n in range(20)), return_exceptions=True)
    refused = [one for one in sent if not isinstance(one, str)]
    assert len(refused) == 15
    assert all(isinstance(each, MailboxFull) and each.retryable for each in refused)
    await box.receive(max_messages=2, visibility_timeout=LONG_S)  # a leased message takes its room
    with pytest.raises(MailboxFull):
        await box.send(Order(number=1), delay_s=LONG_S)
    with pytest.raises(MailboxFull):
        await box.send(Order(number=1))
    await (await one(box)).acknowledge()
    await box.send(Order(number=1))


async def test_the_bytes_of_all_messages_are_bounded(open_box, name) -> None:
    box = open_box(name, max_deliveries=3, total_bytes=1_000)
    body = Order(number=1, note="x" * 370)  # 2 of them, and not 3
    await box.send(body)
    await box.send(body, delay_s=LONG_S)
    with pytest.raises(MailboxFull, match="1000 bytes") as refused:
        await box.send(body)
    assert refused.value.retryable
    await box.send(Order(number=2, note="x" * 40))
    first = await one(box)
    with pytest.raises(MailboxFull):  # a leased message takes its room
        await box.send(body)
    await first.acknowledge()
    await box.send(body)
    assert (await one(box)).body.number == 2
    sent = await asyncio.gather(*(open_box(f"{name}-2", total_bytes=1_000).send(body) for _ in range(9)),
                                return_exceptions=True)  # fmt: skip
    assert len([each for each in sent if isinstance(each, str)]) == 2


async def test_the_bytes_of_dead_letters_are_bounded_for_themselves(open_box, name) -> None:
    box = open_box(name, total_bytes=1_000)
    body = Order(number=1, note="x" * 500)
    for _ in range(2):
        await box.send(body)
        await (await one(box)).reject("no")
    with pytest.raises(MailboxFull, match="dead letters"):
        await box.send(Order(number=2))
    (letter, _) = await box.dead_letters()
    assert await box.revive(letter.id)
    await box.send(Order(number=2))
    assert await box.purge_dead_letters() == 1
    assert await box.clear() == 2
    await box.send(body)
    await box.send(Order(number=2))


async def test_a_dead_letter_comes_back_when_there_is_room_for_its_bytes(open_box, name) -> None:
    box = open_box(name, total_bytes=1_000)
    body = Order(number=1, note="x" * 500)
    await box.send(body)
    await (await one(box)).reject("no")
    await box.send(body)
    (letter,) = await box.dead_letters()
    with pytest.raises(MailboxFull):
        await box.revive(letter.id)
    await (await one(box)).acknowledge()
    assert await box.revive(letter.id)


async def test_replies_to_who_does_not_listen_are_bounded_in_bytes_too(open_box, name) -> None:
    box = open_box(name, reply=Order, total_bytes=1_000)
    gone, heard = f"reply:{uuid4().hex}", []
    for number in range(3):
        await box.send(Order(number=number), reply_to=gone)
        message = await one(box)
        heard.append(await message.reply(Order(number=number, note="x" * 400)))
        await message.acknowledge()
    assert heard == [True, True, False]


async def test_dead_letters_are_bounded_and_none_is_dropped(box) -> None:
    for number in range(5):
        await send(box, number)
        await (await one(box)).reject("no")
    with pytest.raises(MailboxFull, match="dead letters"):
        await send(box, 6)
    assert len(await box.dead_letters()) == 5
    await box.purge_dead_letters()
    await send(box, 6)


async def test_what_is_postponed_comes_again_and_its_delivery_is_not_counted(box, clock) -> None:
    await send(box, 1, 2)
    first = await one(box)
    await first.postpone(LONG_S)
    with pytest.raises(LeaseLost):
        await first.acknowledge()
    assert await box.counts() == MailboxCounts(1, 0, 1, 0)
    second = await one(box)
    assert second.body.number == 2
    await second.postpone(SHORT_S)
    await lapse(box, clock, MailboxCounts(1, 0, 1, 0))
    again = await one(box)
    assert (again.body.number, again.delivery_count) == (2, 1)


async def test_clearing_takes_everything_away_and_the_leases_with_it(box) -> None:
    await send(box, 1, 2)
    await (await one(box)).reject("no")
    leased = await one(box)
    await box.send(Order(number=3), delay_s=LONG_S)
    await send(box, 4)
    assert await box.clear() == 4
    assert await box.counts() == MailboxCounts(0, 0, 0, 0)
    with pytest.raises(LeaseLost):
        await leased.acknowledge()
    await send(box, 5)
    following = await one(box)
    assert (following.body.number, following.token > leased.token) == (5, True)


async def test_no_dead_letter_is_revived_into_a_full_mailbox(box) -> None:
    await send(box, 1)
    await (await one(box)).reject("no")
    await send(box, 2, 3, 4, 5, 6)
    (dead,) = await box.dead_letters()
    with pytest.raises(MailboxFull):
        await box.revive(dead.id)
    assert await box.counts() == MailboxCounts(5, 0, 0, 1)


async def test_a_delayed_message_comes_when_its_delay_is_over(box, clock) -> None:
    await box.send(Order(number=1), delay_s=LONG_S)
    await box.send(Order(number=2), delay_s=SHORT_S)
    assert (await box.counts()).delayed >= 1
    await lapse(box, clock, MailboxCounts(1, 0, 1, 0))
    message = await one(box)
    assert (message.body.number, message.delivery_count) == (2, 1)


async def test_who_waits_gets_a_message_as_soon_as_it_is_sent(box) -> None:
    waiting = [asyncio.ensure_future(one(box, wait_time_seconds=30)) for _ in range(3)]
    await asyncio.wait(waiting, timeout=0.05)
    async with asyncio.timeout(20):
        await send(box, 1, 2, 3)
        assert sorted([(await each).body.number for each in waiting]) == [1, 2, 3]


async def test_who_waits_gets_what_is_given_back_delayed_or_left_lying(box, clock) -> None:
    await send(box, 1)
    held = await one(box)

    async def after(change: Any) -> Any:
        waiting = asyncio.ensure_future(one(box, wait_time_seconds=30))
        await asyncio.wait([waiting], timeout=0.05)
        await change
        clock.advance(1)
        return await waiting

    async with asyncio.timeout(30):
        held = await after(held.nack())
        held = await after(held.nack(visibility_timeout=SHORT_S))
        await held.acknowledge()
        await after(box.send(Order(number=2), delay_s=SHORT_S))
        await send(box, 3)
        await one(box, visibility_timeout=SHORT_S)
        clock.advance(1)
        assert (await one(box, wait_time_seconds=30)).delivery_count == 2


async def test_a_lease_that_ends_while_others_wait_is_noticed(box, clock) -> None:
    await send(box, 1)
    waiting = None
    await one(box, visibility_timeout=SHORT_S)
    waiting = asyncio.ensure_future(one(box, wait_time_seconds=30))
    clock.advance(1)
    async with asyncio.timeout(20):
        assert (await waiting).delivery_count == 2


async def test_who_waits_for_nothing_gets_nothing_in_the_end(box) -> None:
    async with asyncio.timeout(20):
        assert await box.receive(wait_time_seconds=0.03) == []


async def test_cancelling_who_waits_strands_nothing(box) -> None:
    for turns in range(40):
        waiting = asyncio.ensure_future(box.receive(visibility_timeout=LONG_S, wait_time_seconds=30))
        await asyncio.wait([waiting], timeout=turns * 0.0002)
        await send(box, turns)
        await asyncio.wait([waiting], timeout=turns * 0.0002)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=30)
        if waiting.cancelled():
            assert await box.counts() == MailboxCounts(1, 0, 0, 0)
        message = await one(box) if waiting.cancelled() else waiting.result()[0]
        assert (message.body.number, message.delivery_count) == (turns, 1)
        await message.acknowledge()


async def test_a_cancelled_delivery_is_not_counted_and_comes_first(box) -> None:
    await send(box, 1, 2)
    cancelled = 0
    for turns in range(1, 40):
        receiving = asyncio.ensure_future(box.receive(max_messages=5, visibility_timeout=LONG_S))
        for _ in range(turns):
            await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        if not receiving.cancelled():
            break
        cancelled += 1
        assert await box.counts() == MailboxCounts(2, 0, 0, 0)
    assert cancelled
    if receiving.cancelled():
        messages = await box.receive(max_messages=5, visibility_timeout=LONG_S)
    else:
        messages = receiving.result()
    assert [(m.body.number, m.delivery_count) for m in messages] == [(1, 1), (2, 1)]


async def test_a_closed_mailbox_takes_and_gives_nothing_more(box) -> None:
    await send(box, 1)
    held = await one(box)
    waiting = asyncio.ensure_future(box.receive(wait_time_seconds=30))
    await asyncio.wait([waiting], timeout=0.05)
    await box.close()
    async with asyncio.timeout(20):
        assert await waiting == []
    for refused in (box.send(Order(number=1)), box.receive(), box.revive("x")):
        with pytest.raises(MailboxClosed):
            await refused
    await held.acknowledge()
    assert await box.counts() == MailboxCounts(0, 0, 0, 0)


async def test_a_reply_reaches_who_asked_and_names_the_question(open_box, box) -> None:
    replies = open_box("reply:server-1", Done, reply=None)
    asked = await box.send(Order(number=20), reply_to=replies.name)
    message = await one(box)
    assert message.reply_to == "reply:server-1"
    assert await message.reply(Done(total=41))
    await message.acknowledge()
    answer = await one(replies, wait_time_seconds=5)
    assert (answer.body, answer.in_reply_to, answer.reply_to) == (Done(total=41), asked, None)
    await answer.acknowledge()
    with pytest.raises(ValidationFailed):
        await message.reply(Order(number=1))


async def test_a_reply_box_stands_beside_its_mailbox_under_a_name_of_its_own(box) -> None:
    mine, yours = box.reply_box(Done), box.reply_box(Done)
    assert mine.name != yours.name
    await box.send(Order(number=1), reply_to=mine.name)
    asked = await one(box)
    assert await asked.reply(Done(total=2))
    await asked.acknowledge()
    assert (await one(mine)).body == Done(total=2)
    assert await yours.receive() == []


async def test_who_asked_and_died_does_not_keep_work_from_being_done(open_box, name) -> None:
    box = open_box(name, capacity=3)
    gone = f"reply:{uuid4().hex}"
    heard = []
    for number in range(5):
        await box.send(Order(number=number), reply_to=gone)
        message = await one(box)
        heard.append(await message.reply(Done(total=number)))
        await message.acknowledge()
    assert heard == [True, True, True, False, False]
    assert await box.counts() == MailboxCounts(0, 0, 0, 0)


async def test_nobody_is_answered_who_did_not_ask(box) -> None:
    await send(box, 1)
    assert not await (await one(box)).reply(Done(total=1))


async def test_a_mailbox_without_a_type_of_replies_gives_none(open_box, name) -> None:
    box = open_box(name, reply=None)
    await box.send(Order(number=1), reply_to="reply:x")
    with pytest.raises(ValidationFailed):
        await (await one(box)).reply(Done(total=1))


async def test_a_reply_queue_that_nobody_uses_goes_and_a_work_queue_stays(open_box, name, clock) -> None:
    asker = f"reply:{uuid4().hex}"
    box, replies = open_box(name, reply_ttl_s=0.4), open_box(asker, Done, reply_ttl_s=0.4)
    await box.send(Order(number=1), reply_to=asker)
    message = await one(box)
    assert await message.reply(Done(total=1))
    assert await message.reply(Done(total=2))
    await (await one(replies)).reject("seen")
    await send(box, 2)
    clock.advance(1)
    assert await open_box(f"{name}-idle").receive(wait_time_seconds=0.6) == []  # every use would renew it
    assert await replies.counts() == MailboxCounts(0, 0, 0, 0)
    assert await box.counts() == MailboxCounts(1, 1, 0, 0)
    assert await message.reply(Done(total=3))
    assert [m.body.total for m in await replies.receive(max_messages=5)] == [3]


@pytest.mark.parametrize("to", ["work", "reply:", "Reply:x", "reply:a b", "reply:x:dead", ""])
async def test_replies_go_to_reply_queues_alone(box, to) -> None:
    with pytest.raises(ValidationFailed):
        await box.send(Order(number=1), reply_to=to)


@pytest.mark.parametrize("wrong", ["", "Work", "a b", "a{b}", "work:dead", "reply:", "a" * 201, "é", "a\n", None, 1])
async def test_a_mailbox_has_a_plain_name_that_is_no_place_of_dead_letters(open_box, wrong) -> None:
    with pytest.raises(ValidationFailed):
        open_box(wrong)


@pytest.mark.parametrize(
    "how",
    [
        {"max_messages": 0}, {"max_messages": 101}, {"visibility_timeout": 0}, {"visibility_timeout": float("nan")},
        {"visibility_timeout": -1}, {"wait_time_seconds": -1}, {"wait_time_seconds": float("inf")},
    ],
)  # fmt: skip
async def test_numbers_out_of_range_are_refused_and_change_nothing(box, how) -> None:
    await send(box, 1)
    with pytest.raises(ValidationFailed):
        await box.receive(**how)
    with pytest.raises(ValidationFailed):
        await box.send(Order(number=1), delay_s=-1)
    held = await one(box)
    for refused in (held.nack(visibility_timeout=-1), held.extend(0), held.extend(float("nan"))):
        with pytest.raises(ValidationFailed):
            await refused
    await held.acknowledge()


@pytest.mark.parametrize(
    "wrong", [{"capacity": 0}, {"max_deliveries": 0}, {"reply_ttl_s": 0}, {"body_bytes": 0}, {"total_bytes": 0}]
)
def test_limits_are_above_zero(wrong) -> None:
    with pytest.raises(ValidationFailed):
        QueueLimits(**wrong)


async def test_mailboxes_of_other_names_are_apart(open_box, box, name) -> None:
    other = open_box(f"{name}-2")
    await send(box, 1)
    await (await one(box)).reject("no")
    assert await other.receive() == []
    assert await other.dead_letters() == []
    await send(other, 2)
    assert await box.receive() == []
    assert await other.counts() == MailboxCounts(1, 0, 0, 0)


async def test_many_receivers_share_the_work(open_box, name) -> None:
    box = open_box(name)
    seen: list[int] = []

    async def work() -> None:
        while messages := await box.receive(max_messages=3, visibility_timeout=LONG_S, wait_time_seconds=0.2):
            for message in messages:
                seen.append(message.body.number)
                await message.acknowledge()

    async def produce(first: int) -> None:
        await send(box, *range(first, first + 25))

    await asyncio.gather(*(work() for _ in range(4)), *(produce(n) for n in range(0, 100, 25)))
    assert sorted(seen) == list(range(100))


async def test_sqlite_messages_and_their_deliveries_survive_a_restart(tmp_path, clock) -> None:
    for count in (1, 2):
        file = MailboxFile(tmp_path / "mailbox.db", clock=clock)
        box = SqliteMailbox(name="work", body=Order, file=file)
        if count == 1:
            await send(box, 1)
        assert (await one(box, visibility_timeout=5)).delivery_count == count
        await file.aclose()
        clock.advance(10)
        with pytest.raises(MailboxClosed):
            await box.counts()


async def test_two_who_have_one_sqlite_file_open_see_each_others_messages(tmp_path) -> None:
    here, there = MailboxFile(tmp_path / "mailbox.db"), MailboxFile(tmp_path / "mailbox.db")
    receiver = SqliteMailbox(name="work", body=Order, file=there)
    waiting = asyncio.ensure_future(one(receiver, wait_time_seconds=30))
    await asyncio.wait([waiting], timeout=0.05)
    await send(SqliteMailbox(name="work", body=Order, file=here), 9)
    async with asyncio.timeout(20):
        assert (await waiting).body.number == 9
    await here.aclose()
    await there.aclose()


async def test_the_sqlite_file_is_private(tmp_path) -> None:
    file = MailboxFile(tmp_path / "mailbox.db")
    await SqliteMailbox(name="work", body=Order, file=file).send(Order(number=1))
    await file.aclose()
    assert stat.S_IMODE((tmp_path / "mailbox.db").stat().st_mode) == 0o600


async def test_a_sqlite_file_that_cannot_be_opened_is_unavailable(tmp_path) -> None:
    (tmp_path / "no folder").touch()
    file = MailboxFile(tmp_path / "no folder" / "mailbox.db")
    with pytest.raises(MailboxUnavailable):
        await SqliteMailbox(name="work", body=Order, file=file).send(Order(number=1))
    await file.aclose()


async def test_redis_down_is_unavailable_and_what_it_had_is_there_when_it_is_back(tmp_path, server) -> None:
    own = RedisServer(tmp_path)
    client = MailboxRedis(own.url)
    await until_up(client)
    box = RedisMailbox(name="work", body=Order, client=client)
    await send(box, 1, 2)
    held = await one(box)
    waiting = asyncio.ensure_future(RedisMailbox(name="empty", body=Order, client=client).receive(wait_time_seconds=30))
    await asyncio.wait([waiting], timeout=0.1)
    own.stop()
    with pytest.raises(MailboxUnavailable):
        async with asyncio.timeout(30):
            await waiting
    for call in (box.send(Order(number=3)), box.receive(), box.receive(wait_time_seconds=5), held.acknowledge(),
                 box.counts(), box.dead_letters()):  # fmt: skip
        with pytest.raises(MailboxUnavailable) as caught:
            await call
        assert caught.value.retry_after_s == 1.0
    own.start()
    await until_up(client)
    await held.acknowledge()
    assert (await one(box)).body.number == 2
    await box.close()
    await client.aclose()
    own.stop()


async def test_a_redis_that_hangs_is_given_up(tmp_path, server) -> None:
    own = RedisServer(tmp_path)
    client = MailboxRedis(own.url, timeout_s=0.5)
    await until_up(client)
    box = RedisMailbox(name="work", body=Order, client=client)
    own.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(10):
            for _ in range(50):
                with pytest.raises(MailboxUnavailable):
                    await box.send(Order(number=1))
    finally:
        own.process.send_signal(signal.SIGCONT)
    await until_up(client)
    await box.send(Order(number=2))
    await client.aclose()
    own.stop()
