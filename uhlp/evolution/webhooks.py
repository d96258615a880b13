"""Webhooks: notifications posted to the operator's own systems, signed as Standard Webhooks 1.0 asks.

    webhook-id: the notification's id, the same at every attempt
    webhook-timestamp: seconds since the epoch of this attempt
    webhook-signature: v1,<base64 of HMAC-SHA256(secret, "<id>.<timestamp>.<body>")>

A secret that begins with `whsec_` is base64 after it, as that standard writes secrets; any other is taken as it is.
Redirects are not followed: a notification goes where the operator said. What cannot be delivered is tried again after
1, 4, 16, 64 … seconds; a full queue drops the oldest. Both are counted; the ledger keeps every decision anyway.
"""

import asyncio
import base64
import binascii
import hmac
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import orjson
import structlog

from uhlp.backoff import backoff_s
from uhlp.catalogue import evolution
from uhlp.clock import Clock
from uhlp.errors import ValidationFailed
from uhlp.evolution.alerts_config import SECRET, AlertSettings, WebhookSettings, check_url
from uhlp.evolution.notifications import Alert, Notification
from uhlp.metering import Counter, Meter
from uhlp.secret_references import SecretReader, resolve

if TYPE_CHECKING:
    import aiohttp

log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 3600.0
_STANDARD_SECRET = "whsec_"  # noqa: S105  a prefix


class NotDelivered(Exception):
    """Nobody answered; the text says why and holds no URL."""


class Post(Protocol):
    """Posts and gives the status; raises NotDelivered."""

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> int: ...


@dataclass(slots=True)
class _Delivery:
    told: Notification
    attempts: int = 0
    due: float = 0.0
    """On the monotonic clock."""


class Webhook:
    """One receiver with a queue of its own; `run_cycle` posts what is due."""

    def __init__(
        self,
        *,
        name: str,
        url: str,
        key: bytes,
        settings: WebhookSettings,
        attempts: int,
        queue: int,
        post: Post,
        clock: Clock,
        deliveries: Counter,
    ) -> None:
        self.name = name
        self._url = url
        self._host = urlsplit(url).hostname or ""
        self._key = key
        self._events = frozenset(settings.events) or frozenset(str(one) for one in Alert)
        self._app_id = settings.app_id
        self._attempts = attempts
        self._most_waiting = queue
        self._post = post
        self._clock = clock
        self._waiting: deque[_Delivery] = deque()
        self._on_offer: Callable[[], object] = lambda: None
        self._counts = {"delivered": 0, "failed": 0, "given_up": 0, "dropped": 0}
        self._counter = deliveries
        self._last_error: str | None = None

    def on_offer(self, listener: Callable[[], object]) -> None:
        """Call `listener` when there is something to post."""
        self._on_offer = listener

    def offer(self, told: Notification) -> None:
        """Post it soon, if it is among what this webhook is told of. Never waits."""
        if told.event not in self._events or self._app_id not in (None, told.app_id):
            return
        self._keep(_Delivery(told))
        self._on_offer()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run_cycle(self) -> None:
        """Post what is due, in order; the first one that fails ends the cycle: the others would, too."""
        for _ in range(len(self._waiting)):
            delivery = self._take_due()
            if delivery is None or not await self._deliver(delivery):
                return

    def status(self) -> dict[str, Any]:
        """{name, host, waiting, delivered, failed, given_up, dropped, lastError}; no path and no secret."""
        return {
            "name": self.name, "host": self._host, "waiting": len(self._waiting), **self._counts,
            "lastError": self._last_error,
        }  # fmt: skip

    def _take_due(self) -> _Delivery | None:
        now = self._clock.monotonic()
        for delivery in self._waiting:
            if delivery.due <= now:
                self._waiting.remove(delivery)
                return delivery
        return None

    async def _deliver(self, delivery: _Delivery) -> bool:
        delivery.attempts += 1
        body = orjson.dumps(delivery.told.to_dict())
        headers = signed_headers(self._key, delivery.told.id, int(self._clock.now()), body)
        try:
            status = await self._post(self._url, headers, body)
            trouble = None if 200 <= status < 300 else f"status {status}"
        except NotDelivered as error:
            trouble = str(error)
        self._last_error = trouble
        if trouble is None:
            self._count("delivered")
            return True
        is_last = delivery.attempts >= self._attempts
        self._count("given_up" if is_last else "failed")
        log.warning(
            "webhook_not_delivered", webhook=self.name, host=self._host, notification=delivery.told.id,
            attempt=delivery.attempts, is_last=is_last, why=trouble,
        )  # fmt: skip
        if not is_last:
            pause_s = backoff_s(delivery.attempts, first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S, factor=4.0)
            delivery.due = self._clock.monotonic() + pause_s
            self._keep(delivery)
        return False

    def _keep(self, delivery: _Delivery) -> None:
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popleft()
            self._count("dropped")
        self._waiting.append(delivery)

    def _count(self, outcome: str) -> None:
        self._counts[outcome] += 1
        self._counter.labels(self.name, outcome).inc()


def signed_headers(key: bytes, notification_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt."""
    signed = b"%s.%d.%s" % (notification_id.encode(), timestamp_s, body)
    signature = base64.b64encode(hmac.digest(key, signed, sha256)).decode()
    return {
        "content-type": "application/json",
        "user-agent": "UHLP",
        "webhook-id": notification_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{signature}",
    }


def webhooks_of(
    settings: AlertSettings, *, read_secret: SecretReader, post: Post, clock: Clock, meter: Meter
) -> list[Webhook]:
    """The configured webhooks. ValidationFailed for a secret that is not there, naming it."""
    deliveries = evolution.WEBHOOK_DELIVERIES.on(meter)
    return [
        Webhook(
            name=f"webhook-{number}", url=_url(one, number, read_secret), key=_key(one, number, read_secret),
            settings=one, attempts=settings.attempts, queue=settings.queue, post=post, clock=clock,
            deliveries=deliveries,
        )
        for number, one in enumerate(settings.webhooks, start=1)
    ]  # fmt: skip


def _url(settings: WebhookSettings, number: int, read_secret: SecretReader) -> str:
    url = resolve(settings.url, read_secret)
    try:
        if url is None or url.startswith(SECRET):
            raise ValueError("names nothing")
        return check_url(url)
    except ValueError as error:
        shown = settings.url if settings.url.startswith(SECRET) else "url"
        raise ValidationFailed(f"alerts.webhooks, number {number}: {shown} {error}") from None


def _key(settings: WebhookSettings, number: int, read_secret: SecretReader) -> bytes:
    secret = resolve(settings.secret, read_secret)
    if not secret:
        raise ValidationFailed(f"alerts.webhooks, number {number}: {settings.secret} names nothing")
    if not secret.startswith(_STANDARD_SECRET):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_STANDARD_SECRET), validate=True)
    except binascii.Error:
        raise ValidationFailed(f"alerts.webhooks, number {number}: {settings.secret} is no base64") from None


class WebhookClient:
    """The HTTP client of all webhooks: one aiohttp session, made at the first call."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of one POST; what the receiver answers beside it is not read."""
        if self._session is None:
            await asyncio.to_thread(import_module, "aiohttp")  # takes a quarter of a second
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s), cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return response.status
        except TimeoutError:
            raise NotDelivered(f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NotDelivered(type(error).__name__) from None

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
