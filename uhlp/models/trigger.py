"""What starts a component besides its route: `triggers[]` of a ComponentDefinition (contracts §2, §6)."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from uhlp.cron_schedule import CronSchedule
from uhlp.errors import ValidationFailed
from uhlp.models.wire import WireModel

SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$")]
"""The name of an event, a callback or a queue; it stands in a path and in a permission, `trigger:<name>`."""

QueueName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
InputMapping = Annotated[dict[str, Annotated[str, Field(max_length=2_000)]], Field(max_length=100)]
SecretReference = Annotated[str, Field(pattern=r"^secret:[A-Za-z_][A-Za-z0-9_.-]{0,127}$")]


MOST_CORRELATION = 256
"""Characters of what a callback brings to name the run that waits for it."""


class EventTrigger(WireModel):
    """An event that an application sends: `POST /apps/{appId}/-/triggers/{event}`.

    Its body is the input; with `inputMapping` each field of the input is what an expression makes of it, in CEL over
    `trigger.input` (the body) and `trigger.details` (event, sourceAppId).
    """

    source: Literal["trigger"]
    event: SourceName
    input_mapping: InputMapping = {}


class CronTrigger(WireModel):
    """Times of a schedule, in a time zone, with an input that is always the same.

    What was due while no server was up runs once when one is: the newest time, if it is at most `maxLateS` seconds
    late. The others are skipped, and counted.
    """

    source: Literal["cron"]
    schedule: Annotated[str, Field(max_length=200)]
    timezone: Annotated[str, Field(max_length=64)] = "UTC"
    input: dict[str, Any] = {}
    max_late_s: Annotated[int, Field(ge=1, le=86_400)] = 3_600

    @model_validator(mode="after")
    def _is_a_schedule(self) -> "CronTrigger":
        try:
            CronSchedule(self.schedule, self.timezone)
        except ValidationFailed as error:
            raise ValueError(error.message) from None
        return self


class QueueTrigger(WireModel):
    """Messages of a queue of the application: `POST /apps/{appId}/-/queues/{queue}`, each worked on at least once.

    `concurrency` messages at a time on each server; one that is not done within `visibilityTimeoutS` of its worker's
    last sign of life is delivered again, and after `maxDeliveries` it is a dead letter.
    """

    source: Literal["queue"]
    queue: QueueName
    max_deliveries: Annotated[int, Field(ge=1, le=100)] = 5
    concurrency: Annotated[int, Field(ge=1, le=32)] = 1
    visibility_timeout_s: Annotated[int, Field(ge=1, le=3_600)] = 30


class SignatureVerification(WireModel):
    """HMAC of a callback's body, for senders that cannot bring an application key.

    `header` holds `prefix` and the HMAC. With `timestampHeader` what is signed is `<timestamp>.<body>`, the timestamp
    in seconds since the epoch, and one that is more than `toleranceS` off is refused.
    """

    secret: SecretReference
    header: HeaderName = "X-Signature"
    prefix: Annotated[str, Field(max_length=32)] = ""
    algorithm: Literal["sha256", "sha512", "sha1"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    timestamp_header: HeaderName | None = None
    tolerance_s: Annotated[int, Field(ge=1, le=86_400)] = 300


class CallbackTrigger(WireModel):
    """A call from outside: `POST /apps/{appId}/-/callbacks/{name}`, by an application key, or signed.

    `inputMapping` is as events have it; `trigger.details` has the callback's name, and its correlation if it has one.
    One that comes again within `replayWindowS` does not run again: known by its signature, else by the header
    `idempotencyHeader`, if there is one.
    """

    source: Literal["callback"]
    name: SourceName
    input_mapping: InputMapping = {}
    verification: SignatureVerification | None = None
    idempotency_header: HeaderName = "Idempotency-Key"
    replay_window_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 86_400


Trigger = Annotated[EventTrigger | CronTrigger | QueueTrigger | CallbackTrigger, Field(discriminator="source")]
