"""LinkMaker: makes the link that a server's spec asks for. It brings the MCP SDK, which takes half a second to load."""

import asyncio
import ssl
from contextlib import AbstractAsyncContextManager
from functools import partial

from mcp.client._transport import TransportStreams

from uhlp.access.address_guard import AddressGuard, Resolve, ask_system
from uhlp.access.definition_secrets import DefinitionSecrets
from uhlp.clock import Clock
from uhlp.secret_references import SecretReader, is_servers_own
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.http_transport import http_streams
from uhlp.tools.gateway.server_link import ServerLink
from uhlp.tools.gateway.server_spec import Credentials, ServerSpec, command_of, read_credentials
from uhlp.tools.gateway.stdio_transport import OpenCommand, stdio_streams


class LinkMaker:
    """Made in a thread: it reads certificates. `open_command` starts a program in a sandbox; `secrets` are those of
    definitions, `read_secret` reads those of the settings."""

    def __init__(
        self,
        *,
        settings: McpSettings,
        read_secret: SecretReader,
        open_command: OpenCommand,
        secrets: DefinitionSecrets,
        clock: Clock,
        resolve: Resolve = ask_system,
    ) -> None:
        self._settings = settings
        self._read_secret = read_secret
        self._open_command = open_command
        self._secrets = secrets
        self._clock = clock
        self._guard = AddressGuard(rules=settings, prefix="mcp", clock=clock, resolve=resolve)
        self._tls = ssl.create_default_context()  # the machine's authorities, or SSL_CERT_FILE; 20 ms, so made once

    def link(self, app_id: str, spec: ServerSpec) -> ServerLink:
        """A link that has not been used yet."""
        return ServerLink(
            app_id=app_id,
            spec=spec,
            credentials=partial(self._credentials, app_id, spec),
            open_streams=partial(self._streams, app_id, spec),
            settings=self._settings,
            clock=self._clock,
        )

    async def _credentials(self, app_id: str, spec: ServerSpec) -> Credentials:
        if spec.is_shared:
            return await asyncio.to_thread(read_credentials, spec.secrets, self._read_secret, refusal=_refusal)
        read, refusal = partial(self._secrets.read, app_id), partial(self._secrets.refusal, app_id)
        return await asyncio.to_thread(read_credentials, spec.secrets, read, refusal=refusal)

    def _streams(
        self, app_id: str, spec: ServerSpec, credentials: Credentials
    ) -> AbstractAsyncContextManager[TransportStreams]:
        if spec.program is not None:
            return stdio_streams(
                self._open_command,
                command_of(app_id, spec.program, credentials),
                most_bytes=self._settings.max_message_bytes,
                server=spec.name,
                hidden=credentials.hidden,
            )
        assert spec.url is not None  # noqa: S101  a server has either
        return http_streams(
            spec.url,
            credentials.values,
            guard=self._guard,
            is_shared=spec.is_shared,
            tls=self._tls,
            settings=self._settings,
        )


def _refusal(name: str) -> str | None:
    """Of a secret that the settings give to a server; the operator may send it, but nothing that UHLP itself reads."""
    return f"secret:{name} is this server's own and goes to nobody" if is_servers_own(name, ()) else None
