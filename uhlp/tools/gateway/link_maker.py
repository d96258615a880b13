"""LinkMaker: makes the link that a server's spec asks for. It brings the MCP SDK, which takes half a second to load."""

import asyncio
import ssl
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from functools import partial

from mcp.client._transport import TransportStreams

from uhlp.clock import Clock
from uhlp.secret_references import SecretReader
from uhlp.tools.gateway.address_guard import AddressGuard
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.http_transport import http_streams
from uhlp.tools.gateway.server_link import ServerLink
from uhlp.tools.gateway.server_spec import Credentials, ServerSpec, command_of, read_credentials
from uhlp.tools.gateway.stdio_transport import OpenCommand, stdio_streams


class LinkMaker:
    """Made in a thread: it reads certificates. `open_command` starts a program in a sandbox; `own_secrets` are names
    that no definition may send anywhere."""

    def __init__(
        self,
        *,
        settings: McpSettings,
        read_secret: SecretReader,
        open_command: OpenCommand,
        own_secrets: Collection[str],
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._read_secret = read_secret
        self._open_command = open_command
        self._own_secrets = frozenset(own_secrets)
        self._clock = clock
        self._guard = AddressGuard(settings=settings, clock=clock)
        self._tls = ssl.create_default_context()  # the machine's authorities, or SSL_CERT_FILE; 20 ms, so made once

    def link(self, app_id: str, spec: ServerSpec) -> ServerLink:
        """A link that has not been used yet."""
        return ServerLink(
            app_id=app_id,
            spec=spec,
            credentials=partial(self._credentials, spec),
            open_streams=partial(self._streams, app_id, spec),
            settings=self._settings,
            clock=self._clock,
        )

    async def _credentials(self, spec: ServerSpec) -> Credentials:
        forbidden = () if spec.is_shared else self._own_secrets
        return await asyncio.to_thread(read_credentials, spec.secrets, self._read_secret, forbidden=forbidden)

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
