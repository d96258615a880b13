"""ServerSpec: the MCP server that a name of a definition means."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from uhlp.models.mcp_server import McpServerDefinition
from uhlp.sandbox.command import CommandLimits, CommandSpec
from uhlp.secret_references import REFERENCE, SecretReader
from uhlp.tools.gateway.config import SharedServer
from uhlp.tools.gateway.faults import ServerFault


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """`namespace` and `name` begin its tools' names. `url` or `program` is given; `secrets` are its headers or its
    environment, with references.

    `is_shared`: the operator named it, so that its address is the operator's choice.
    """

    namespace: str
    name: str
    is_shared: bool
    url: str | None = None
    program: SharedServer | None = None
    secrets: tuple[tuple[str, str], ...] = ()

    @property
    def prefix(self) -> str:
        return f"{self.namespace}.{self.name}."


def spec_of(name: str, definition: McpServerDefinition, shared: Mapping[str, SharedServer]) -> ServerSpec | None:
    """The server that `definition` means; None when the settings do not have what it refers to (any more)."""
    if definition.ref is None:
        return ServerSpec("app", name, is_shared=False, url=definition.url, secrets=tuple(definition.headers.items()))
    server = shared.get(definition.ref)
    if server is None:
        return None
    return ServerSpec(
        "community",
        name,
        is_shared=True,
        url=server.url,
        program=None if server.url is not None else server,
        secrets=tuple((server.headers if server.url is not None else server.env).items()),
    )


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the references of a spec stand for. `hidden` are the secrets themselves, to be masked wherever they appear.

    Never printed: both fields are left out of its text.
    """

    values: dict[str, str]
    hidden: tuple[str, ...]

    def __repr__(self) -> str:
        return "Credentials(…)"


def command_of(app_id: str, program: SharedServer, credentials: Credentials) -> CommandSpec:
    """How an application's own process of `program` is started."""
    return CommandSpec(
        owner=app_id,
        argv=program.argv,
        environment=credentials.values,
        folders=program.folders,
        has_network=program.network,
        image=program.image,
        limits=CommandLimits(memory_bytes=program.memory_bytes, counts_reservations=False, processes=program.processes),
    )


def read_credentials(
    pairs: Iterable[tuple[str, str]], read: SecretReader, *, refusal: Callable[[str], str | None]
) -> Credentials:
    """The pairs with their references replaced. Reads files: call it in a thread.

    `refusal` says why a secret goes to nobody. Raises ServerFault with it, or for a secret that is not there.
    """
    hidden: list[str] = []

    def secret(found: re.Match[str]) -> str:
        name = found[1]
        if reason := refusal(name):
            raise ServerFault(reason)
        value = (read(name) or "").strip()
        if not value:
            raise ServerFault(f"there is no secret {name}")
        if not value.isprintable() or not value.isascii():
            raise ServerFault(f"secret:{name} cannot be sent: it is not one line of printable ASCII")
        hidden.append(value)
        return value

    return Credentials({name: REFERENCE.sub(secret, value) for name, value in pairs}, tuple(hidden))
