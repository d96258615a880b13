"""Numbers of the mailbox room."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator


class MailboxSettings(BaseModel):
    """What one queue of an application may hold. Queues stand where runtime values do (`runtime.url`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    capacity: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Messages that wait or are worked on; and dead letters, for themselves."""
    body_bytes: Annotated[int, Field(ge=1_024, le=64 * 1024 * 1024)] = 1024 * 1024
    """The JSON of one message."""

    total_bytes: Annotated[int, Field(ge=1_024)] = 128 * 1024 * 1024
    """The JSON of all messages that wait or are worked on; and of dead letters, for themselves."""
    stop_within_s: Annotated[float, Field(ge=0, le=600)] = 10.0
    """When the server stops, messages under way have so long; what is not done then is delivered again."""

    @model_validator(mode="after")
    def _has_room_for_one(self) -> "MailboxSettings":
        if self.total_bytes < self.body_bytes:
            raise ValueError("total_bytes is less than body_bytes: a message of that size would never be taken")
        return self
