"""CommandSettings: which programs components may run, and what one run may take (settings `commands.*`)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from uhlp.models.definition import RUNNER_IMAGE
from uhlp.models.program_path import ProgramPath

EVERY_APPLICATION = "*"
_MIB = 1024 * 1024


class CommandSettings(BaseModel):
    """Without `allowed`, no command runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allowed: dict[str, tuple[ProgramPath, ...]] = {}
    """By application id, or `*` for all: absolute paths of programs. An application runs those that its definition
    lists as well (`commands`); its owner can take away from this list and never add to it."""

    image: str = RUNNER_IMAGE
    """The image that commands are in where sandboxes are containers; elsewhere they are this machine's."""

    per_application: Annotated[int, Field(ge=1, le=64)] = 4
    """Commands of one application that run at a time; the others wait within their time limit."""

    default_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """For a command whose caller names no limit."""

    max_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """The longest that a caller may ask for."""

    max_stdin_bytes: Annotated[int, Field(ge=0, le=8 * _MIB)] = 1 * _MIB
    """What a command may be given to read."""

    max_output_bytes: Annotated[int, Field(ge=1, le=4 * _MIB)] = 256 * 1024
    """Of each stream; a command that writes more is ended."""

    memory_mib: Annotated[int, Field(ge=16)] = 256
    """Of all processes of a command together."""

    processes: Annotated[int, Field(ge=1, le=1024)] = 32
    """With their threads."""

    def programs_of(self, app_id: str) -> frozenset[str]:
        """What the server lets this application run."""
        return frozenset((*self.allowed.get(EVERY_APPLICATION, ()), *self.allowed.get(app_id, ())))
