"""Notifications posted to a real receiver: signed, tried again, bounded, and never followed elsewhere."""

import asyncio
import base64
import hmac
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import web

from tests.unit.evolution.world import CountingMeter
from uhlp.clock import FakeClock
from uhlp.errors import ValidationFailed
from uhlp.evolution.alerts_config import AlertSettings
from uhlp.evolution.notifications import Notification
from uhlp.evolution.webhooks import NotDelivered, Webhook, WebhookClient, webhooks_of
from uhlp.settings import Settings

SECRETS = {"HOOK": "a shared secret", "STANDARD": "whsec_" + base64.b64encode(b"24 bytes of randomness..").decode()}


@dataclass
class Receiver:
    """Answers with the statuses it was given, then 204."""

    statuses: deque[int] = field(default_factory=deque)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        status = self.statuses.popleft() if self.statuses else 204
        return web.Response(status=status, headers={"Location": f"{self.url}/elsewhere"} if status == 302 else None)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    made = WebhookClient(timeout_s=5)
    yield made
    await made.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


Make = Callable[..., Webhook]


@pytest.fixture
def make(receiver: Receiver, client: WebhookClient, clock: FakeClock) -> Make:
    def made(
        *, meter: CountingMeter | None = None, attempts: int = 8, queue: int = 1000, post: Any = None, **hook: Any
    ) -> Webhook:
        hook = {"url": f"{receiver.url}/hook?key=path-secret", "secret": "secret:HOOK", **hook}
        settings = AlertSettings.model_validate({"webhooks": [hook], "attempts": attempts, "queue": queue})
        (one,) = webhooks_of(
            settings, read_secret=SECRETS.get, post=post or client.post, clock=clock, meter=meter or CountingMeter()
        )
        return one

    return made


def told(number: int = 1, event: str = "rolled_back", app_id: str = "shop") -> Notification:
    return Notification(
        id=f"n-{number}", ts=1_750_000_000.25, event=event, reason="2 of 20 are wrong", seq=number, app_id=app_id,
        component_id="parse", candidate_id="c-1", actor="governor", evidence={"n": 20, "k": 2},
    )  # fmt: skip


async def test_a_notification_arrives_whole_and_signed(make: Make, receiver: Receiver, clock: FakeClock) -> None:
    hook = make()
    hook.offer(told())
    await hook.run_cycle()
    ((headers, body),) = receiver.got
    assert json.loads(body) == {
        "id": "n-1", "ts": "2025-06-15T15:06:40.250Z", "severity": "warning", "event": "rolled_back", "appId": "shop",
        "componentId": "parse", "candidateId": "c-1", "actor": "governor", "reason": "2 of 20 are wrong",
        "evidence": {"n": 20, "k": 2},
    }  # fmt: skip
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("n-1", str(int(clock.now())))
    signed = f"n-1.{int(clock.now())}.".encode() + body
    expected = base64.b64encode(hmac.new(b"a shared secret", signed, sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["content-type"] == "application/json"
    assert hook.status()["delivered"] == 1


async def test_a_secret_of_the_standards_form_is_decoded(make: Make, receiver: Receiver, clock: FakeClock) -> None:
    hook = make(secret="secret:STANDARD")
    hook.offer(told())
    await hook.run_cycle()
    ((headers, body),) = receiver.got
    signed = f"n-1.{int(clock.now())}.".encode() + body
    expected = hmac.new(b"24 bytes of randomness..", signed, sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


async def test_what_fails_is_tried_again_later_and_later(make: Make, receiver: Receiver, clock: FakeClock) -> None:
    receiver.statuses.extend([500, 503, 404])
    meter = CountingMeter()
    hook = make(meter=meter)
    hook.offer(told())
    for pause_s, attempts in ((0, 1), (0.9, 1), (0.2, 2), (3.8, 2), (0.4, 3), (15.9, 3), (0.3, 4), (1e6, 4)):
        clock.advance(pause_s)
        await hook.run_cycle()
        assert len(receiver.got) == attempts
    assert receiver.ids == ["n-1"] * 4
    assert [int(headers["webhook-timestamp"]) for headers, _ in receiver.got] == sorted(
        int(headers["webhook-timestamp"]) for headers, _ in receiver.got
    )
    assert hook.status()["waiting"] == 0
    outcomes = {key[2]: count for key, count in meter.counts.items()}
    assert outcomes == {"failed": 3, "delivered": 1}


async def test_it_gives_up_in_the_end_and_says_so(make: Make, receiver: Receiver, clock: FakeClock) -> None:
    receiver.statuses.extend([500] * 9)
    hook = make(attempts=3)
    hook.offer(told())
    for _ in range(6):
        await hook.run_cycle()
        clock.advance(4000)
    assert len(receiver.got) == 3
    status = hook.status()
    assert (status["waiting"], status["failed"], status["given_up"], status["delivered"]) == (0, 2, 1, 0)
    assert status["lastError"] == "status 500"


async def test_redirects_are_not_followed(make: Make, receiver: Receiver) -> None:
    receiver.statuses.append(302)
    hook = make()
    hook.offer(told())
    await hook.run_cycle()
    assert len(receiver.got) == 1
    assert hook.status()["lastError"] == "status 302"


async def test_one_failure_ends_a_cycle_and_others_follow_in_order(
    make: Make, receiver: Receiver, clock: FakeClock
) -> None:
    receiver.statuses.append(500)
    hook = make()
    for number in (1, 2, 3):
        hook.offer(told(number))
    await hook.run_cycle()
    assert receiver.ids == ["n-1"]
    await hook.run_cycle()
    assert receiver.ids == ["n-1", "n-2", "n-3"]
    clock.advance(1)
    await hook.run_cycle()
    assert receiver.ids == ["n-1", "n-2", "n-3", "n-1"]


async def test_a_full_queue_drops_the_oldest_and_counts_it(make: Make, receiver: Receiver) -> None:
    hook = make(queue=3)
    for number in range(10):
        hook.offer(told(number))
    assert (hook.status()["waiting"], hook.status()["dropped"]) == (3, 7)
    await hook.run_cycle()
    assert receiver.ids == ["n-7", "n-8", "n-9"]


async def test_a_slow_receiver_holds_up_nobody(make: Make, receiver: Receiver) -> None:
    receiver.hold = asyncio.Event()
    hook, woken = make(), asyncio.Event()
    hook.on_offer(woken.set)
    hook.offer(told(1))
    assert woken.is_set()
    cycle = asyncio.create_task(hook.run_cycle())
    await asyncio.wait_for(receiver.arrived.wait(), 10)
    hook.offer(told(2))
    assert not cycle.done()
    receiver.hold.set()
    await cycle
    await hook.run_cycle()
    assert receiver.ids == ["n-1", "n-2"]


async def test_one_that_does_not_answer_in_time_or_at_all_is_a_failure(make: Make, receiver: Receiver) -> None:
    receiver.hold = asyncio.Event()
    slow = WebhookClient(timeout_s=0.05)
    hook = make(post=slow.post)
    hook.offer(told())
    await hook.run_cycle()
    assert hook.status()["lastError"] == "no answer within 0.05 s"
    with pytest.raises(NotDelivered):
        await slow.post("http://127.0.0.1:9/", {}, b"")
    receiver.hold.set()
    await slow.aclose()


async def test_only_what_was_asked_for_is_posted(make: Make) -> None:
    alerts, moves, one_app = make(), make(events=["shadow", "promoted"]), make(appId="shop")
    for event, app_id in (("shadow", "shop"), ("promoted", "shop"), ("promoted", "desk"), ("paused", "shop")):
        for hook in (alerts, moves, one_app):
            hook.offer(told(event=event, app_id=app_id))
    assert [hook.status()["waiting"] for hook in (alerts, moves, one_app)] == [2, 3, 1]


async def test_neither_secret_nor_path_is_ever_logged_or_shown(
    make: Make, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.statuses.append(500)
    hook = make()
    hook.offer(told())
    await hook.run_cycle()
    said = capsys.readouterr()
    shown = said.out + said.err + str(hook.status())
    assert "webhook_not_delivered" in shown
    assert "a shared secret" not in shown
    assert "path-secret" not in shown


@pytest.mark.parametrize(
    ("hook", "why"),
    [
        ({"url": "ftp://example.com/"}, "no http or https URL"),
        ({"url": "https://ann:pw@example.com/"}, "no http or https URL"),
        ({"secret": "a raw secret"}, "secret"),
        ({"events": ["promotd"]}, "promotd: known are"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(hook: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Settings(alerts={"webhooks": [{"url": "https://example.com/", "secret": "secret:HOOK", **hook}]})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "hook", [{"secret": "secret:NOWHERE"}, {"url": "secret:NOWHERE"}, {"url": "secret:HOOK"}, {"secret": "secret:BAD"}]
)
def test_a_reference_to_nothing_is_refused_without_saying_what_was_found(hook: dict[str, str]) -> None:
    settings = AlertSettings.model_validate(
        {"webhooks": [{"url": "https://example.com/", "secret": "secret:HOOK", **hook}]}
    )
    secrets = {**SECRETS, "BAD": "whsec_%%"}
    with pytest.raises(ValidationFailed, match="number 1") as refused:
        webhooks_of(settings, read_secret=secrets.get, post=None, clock=FakeClock(), meter=CountingMeter())  # type: ignore[arg-type]
    assert not any(secret in refused.value.message for secret in secrets.values())
