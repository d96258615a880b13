"""MCP servers that the operator offers to applications, and what holds for all of them (settings `mcp.*`)."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from uhlp.access.address_guard import AddressRules
from uhlp.models.definition import RUNNER_IMAGE
from uhlp.models.image_name import ImageName
from uhlp.models.mcp_server import Headers, ServerName, ServerUrl

Seconds = Annotated[float, Field(gt=0)]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_HOLDS_A_SECRET = re.compile(r"token|key|secret|passw|credential", re.IGNORECASE)


class _Settings(BaseModel):
    """Both spellings, `idle_timeout_s` and `idleTimeoutS`, are read."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class SharedServer(_Settings):
    """One server that definitions may name with `mcpServers: {<name>: {ref: <this one's name>}}`.

    Either `url` and `headers`, or `command` and `args`: a program that UHLP starts in a sandbox, once for each
    application, and speaks to over its standard input and output. Values of `headers` and `env` may hold `secret:NAME`.
    """

    url: ServerUrl | None = None
    """Streamable HTTP."""

    headers: Headers = {}
    """Sent with every request; `Authorization = "Bearer secret:NAME"`."""

    command: tuple[str, ...] = ()
    """The absolute path of a program, with arguments or without them; no shell reads it. One text is a path alone."""

    args: tuple[str, ...] = ()
    """Further arguments."""

    env: dict[str, str] = {}
    """The environment that it is given; nothing of the server's own."""

    folders: tuple[Path, ...] = ()
    """Folders of this machine that the program may read, at their own paths: its own files and libraries."""

    network: bool = False
    """True: the program reaches what this machine reaches, addresses of the machine itself among it."""

    image: ImageName = RUNNER_IMAGE
    """Where sandboxes are containers: the image that has the program."""

    memory_bytes: Annotated[int, Field(ge=16 * 1024 * 1024)] = 512 * 1024 * 1024
    """What all processes of the program may hold."""

    processes: Annotated[int, Field(ge=1, le=4096)] = 128
    """Threads count too."""

    @model_validator(mode="before")
    @classmethod
    def _one_text_is_a_program(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("command"), str):
            return {**given, "command": [given["command"]]}
        return given

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "SharedServer":
        if (self.url is None) == (not self.command):
            raise ValueError("an MCP server has a url, or a command")
        if self.command and not self.command[0].startswith("/"):
            raise ValueError("command is the absolute path of a program, such as /usr/bin/node")
        if (self.command and self.headers) or (self.url and (self.args or self.env)):
            raise ValueError("headers go with a url; args and env go with a command")
        if bad := next((name for name in self.env if not _VARIABLE.fullmatch(name)), None):
            raise ValueError(f"{bad[:40]!r} is not the name of a variable")
        for name, value in self.env.items():
            if _HOLDS_A_SECRET.search(name) and "secret:" not in value:
                raise ValueError(f"{name} must be a reference, secret:NAME")
        return self

    @property
    def argv(self) -> tuple[str, ...]:
        return (*self.command, *self.args)


class McpSettings(_Settings, AddressRules):
    """Where definitions may reach, and how long and how much."""

    servers: dict[ServerName, SharedServer] = {}
    """By the name that definitions refer to."""

    connect_timeout_s: Seconds = 5.0
    """From nothing to a session."""

    start_timeout_s: Seconds = 30.0
    """The same for a program that must be started first."""

    list_timeout_s: Seconds = 10.0
    """Of one request for its list of tools."""

    call_timeout_s: Seconds = 60.0
    """Of one call; the request's deadline is often earlier."""

    list_ttl_s: Seconds = 300.0
    """A list of tools is asked for again after this time, or when its server says that it has changed."""

    idle_timeout_s: Seconds = 300.0
    """A session that nobody used for this long is closed, and a program that UHLP started is ended."""

    backoff_initial_s: Seconds = 1.0
    """After a server was found away; it doubles with every try."""

    backoff_max_s: Seconds = 60.0
    """The longest that a server which was found away is left alone."""

    concurrent_calls: Annotated[int, Field(ge=1)] = 32
    """Of one application to one server; more wait."""

    max_message_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    """Of one message from a server; a larger one is not read."""

    max_result_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024
    """Of one result, as JSON."""

    max_tools: Annotated[int, Field(ge=1)] = 500
    """Of one server; what it lists beyond is not seen."""
