"""Numbers of the HTTP edge."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class WebSettings(BaseModel):
    """Limits of every request, and the panel's session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: Annotated[int, Field(ge=1_024)] = 10 * 1024 * 1024
    max_record_bytes: Annotated[int, Field(ge=1_024)] = 4 * 1024 * 1024
    """A body of POST /record."""
    body_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    failed_logins_per_minute: Annotated[int, Field(ge=1)] = 20
    panel_session_s: Annotated[int, Field(ge=60)] = 8 * 3600
    secure_cookies: bool = False
    events_heartbeat_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    """How often GET /events says that it is still there."""
