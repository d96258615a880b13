"""Messages of queues become requests, and the answer says what becomes of the message."""

import asyncio
import json
from typing import Any

import pytest

from tests.unit.sources.conftest import APP, Shop, component
from tests.unit.web.fakes import Result
from uhlp.errors import (
    BadModelAnswer,
    BudgetExhausted,
    HandlerFailed,
    InputInvalid,
    MailboxFull,
    ModelProviderUnavailable,
    NoSandboxAvailable,
    NotFound,
    NotRepeated,
    PayloadTooLarge,
    QueueNotFound,
    UhlpError,
)
from uhlp.mailbox.message_queue import MailboxCounts
from uhlp.routing.request import RoutedRequest
from uhlp.tracing import TraceContext

ORDERS = {"source": "queue", "queue": "orders", "maxDeliveries": 3}


def answering(result: Result | UhlpError) -> Any:
    async def respond(request: RoutedRequest) -> Result:
        if isinstance(result, UhlpError):
            raise result
        return result

    return respond


async def counts(shop: Shop) -> MailboxCounts:
    return await shop.queues.mailbox(shop.queues.queue(APP, "orders")).counts()


async def test_a_message_is_one_request_with_its_details_and_its_trace(shop: Shop) -> None:
    await shop.register(component("fulfil", ORDERS))
    message_id = await shop.queues.put(APP, "orders", {"text": "3 pears"}, trace=TraceContext("a" * 32))
    await shop.work()
    (request,) = shop.asked
    assert (request.component.definition.component_id, request.source, request.input) == (
        "fulfil", "queue", {"text": "3 pears"},
    )  # fmt: skip
    assert request.source_details == {
        "queue": "orders",
        "messageId": message_id,
        "deliveryCount": 1,
        "enqueuedAt": "2025-06-15T15:06:40.000Z",
    }
    assert request.trace_id == "a" * 32
    assert await counts(shop) == MailboxCounts(0, 0, 0, 0)


async def test_only_an_input_of_the_consumer_gets_into_a_queue_that_someone_consumes(shop: Shop) -> None:
    await shop.register(component("fulfil", ORDERS))
    with pytest.raises(QueueNotFound, match="source: queue"):
        await shop.queues.put(APP, "nothing", {"text": "3 pears"})
    with pytest.raises(QueueNotFound):
        await shop.queues.put(APP, "_events", {"text": "3 pears"})
    for values in ({"text": 3}, ["text"], None):
        with pytest.raises(InputInvalid):
            await shop.queues.put(APP, "orders", values)
    with pytest.raises(PayloadTooLarge):
        await shop.queues.put(APP, "orders", {"text": "x" * 1024 * 1024})
    assert await counts(shop) == MailboxCounts(0, 0, 0, 0)


async def test_a_full_queue_takes_no_more(shop: Shop) -> None:
    await shop.register(component("fulfil", ORDERS))
    for _ in range(1_000):
        await shop.queues.put(APP, "orders", {"text": "x"})
    with pytest.raises(MailboxFull):
        await shop.queues.put(APP, "orders", {"text": "x"})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (NotRepeated(), "NOT_REPEATED"),
        (InputInvalid("no such field"), "INPUT_INVALID: no such field"),
        (Result({"code": "SOLD_OUT", "statusCode": 409}, "error"), "the component answered 409, SOLD_OUT"),
        (Result({"statusCode": 422, "body": ""}, "httpResponse"), "the component answered 422"),
    ],
)
async def test_what_would_be_refused_again_is_a_dead_letter_at_once(
    shop: Shop, answer: Result | UhlpError, reason: str
) -> None:
    await shop.register(component("fulfil", ORDERS))
    shop.router.respond = answering(answer)
    await shop.queues.put(APP, "orders", {"text": "3 pears"})
    await shop.work()
    (letter,) = await shop.queues.dead_letters(APP, "orders")
    assert letter["reason"].startswith(reason)
    assert letter["deliveryCount"] == 1
    assert (letter["componentId"], letter["input"]) == ("fulfil", {"text": "3 pears"})


@pytest.mark.parametrize(
    "answer",
    [
        HandlerFailed(),
        BadModelAnswer(),
        Result({"code": "DOWN"}, "error"),
        Result({"statusCode": 503}, "httpResponse"),
        Result({"statusCode": 429}, "httpResponse"),
    ],
)
async def test_what_may_work_later_is_delivered_again_and_then_a_dead_letter(
    shop: Shop, answer: Result | UhlpError
) -> None:
    await shop.register(component("fulfil", ORDERS))
    shop.router.respond = answering(answer)
    await shop.queues.put(APP, "orders", {"text": "3 pears"})
    for delivery in (1, 2, 3):
        await shop.work()
        assert len(shop.asked) == delivery
        shop.clock.advance(60)
    (letter,) = await shop.queues.dead_letters(APP, "orders")
    assert letter["reason"].startswith("delivered 3 times, at last: ")


@pytest.mark.parametrize("error", [ModelProviderUnavailable, NoSandboxAvailable, BudgetExhausted])
async def test_what_is_away_costs_a_message_no_delivery(shop: Shop, error: type[UhlpError]) -> None:
    await shop.register(component("fulfil", ORDERS))
    shop.router.respond = answering(error(retry_after_s=120))
    await shop.queues.put(APP, "orders", {"text": "3 pears"})
    for times in range(1, 8):  # more often than it may be delivered
        await shop.work()
        assert len(shop.asked) == times
        shop.clock.advance(119)
        await shop.work()
        assert len(shop.asked) == times
        shop.clock.advance(61)
    shop.router.respond = None
    await shop.work()
    assert {(request.source_details or {})["deliveryCount"] for request in shop.asked} == {1}
    assert await counts(shop) == MailboxCounts(0, 0, 0, 0)


async def test_dead_letters_are_listed_revived_and_purged(shop: Shop) -> None:
    await shop.register(component("fulfil", ORDERS))
    shop.router.respond = answering(NotRepeated())
    for text in ("a", "b"):
        await shop.queues.put(APP, "orders", {"text": text})
    await shop.work()
    first, second = await shop.queues.dead_letters(APP, "orders")
    shop.router.respond = None
    await shop.queues.revive(APP, "orders", first["messageId"])
    with pytest.raises(NotFound):
        await shop.queues.revive(APP, "orders", first["messageId"])
    await shop.work()
    assert shop.asked[-1].input == {"text": "a"}
    assert [one["messageId"] for one in await shop.queues.dead_letters(APP, "orders")] == [second["messageId"]]
    assert await shop.queues.purge(APP, "orders") == 1
    (row,) = await shop.queues.overview(APP)
    assert (row["queue"], row["componentId"], row["dead"]) == ("orders", "fulfil", 0)


def watched(shop: Shop) -> asyncio.Queue[RoutedRequest]:
    """What the router is asked, as it comes; consumers work beside."""
    asked: asyncio.Queue[RoutedRequest] = asyncio.Queue()

    async def respond(request: RoutedRequest) -> Result:
        asked.put_nowait(request)
        return Result({})

    shop.router.respond = respond
    return asked


async def test_consumers_follow_the_definitions_in_service(shop: Shop) -> None:
    asked = watched(shop)
    await shop.register(component("fulfil", ORDERS))
    await shop.consumers.run_cycle()
    await shop.queues.put(APP, "orders", {"text": "first"})
    assert (await asyncio.wait_for(asked.get(), 30)).component.definition.component_id == "fulfil"
    changed = component("pack", {"source": "queue", "queue": "orders", "concurrency": 2})
    registry = f'{{"components": [{json.dumps(changed)}]}}'.encode()
    await shop.registry.apply_files(APP, {"component_registry.yaml": registry}, message="Pack instead")
    await shop.consumers.run_cycle()
    assert len(shop.consumers.status()) == 2
    await shop.queues.put(APP, "orders", {"text": "second"})
    assert (await asyncio.wait_for(asked.get(), 30)).component.definition.component_id == "pack"
    await shop.registry.deregister_application(APP)
    await shop.consumers.run_cycle()
    assert shop.consumers.status() == ()


async def test_a_stop_lets_the_message_under_way_be_finished(shop: Shop) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def respond(request: RoutedRequest) -> Result:
        begun.set()
        await finish.wait()
        return Result({})

    await shop.register(component("fulfil", ORDERS))
    shop.router.respond = respond
    await shop.consumers.run_cycle()
    await shop.queues.put(APP, "orders", {"text": "first"})
    await asyncio.wait_for(begun.wait(), 30)
    stopping = asyncio.create_task(shop.consumers.aclose())
    await shop.queues.put(APP, "orders", {"text": "second"})
    finish.set()
    await asyncio.wait_for(stopping, 30)
    assert await counts(shop) == MailboxCounts(1, 0, 0, 0)
    assert shop.meter.counts["uhlp_queue_deliveries_total", APP, "orders", "done"] == 1


async def test_queues_of_two_applications_are_apart(shop: Shop) -> None:
    await shop.register(component("fulfil", ORDERS))
    await shop.register(component("other", ORDERS), app_id="office")
    await shop.queues.put("office", "orders", {"text": "paper"})
    await shop.work()
    assert shop.asked == []
