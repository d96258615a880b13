"""AccessIssuer: lets an execution in an image of users' own reach this server, for as long as its call lasts."""

from typing import Any

from uhlp.access.sandbox_tokens import SandboxIdentity, SandboxTokens
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import McpAccess, WorkerClient
from uhlp.sandbox.driver import Group

GRACE_S = 5.0
"""A token outlives its call's deadline by this, so that what was sent in the last moment arrives."""


class AccessIssuer:
    """Without an address, or without tokens, it issues nothing."""

    def __init__(self, *, server_url: str | None, tokens: SandboxTokens | None) -> None:
        self._server_url = server_url
        self._tokens = tokens

    def issue(
        self, request: dict[str, Any], *, app_id: str, pool: PoolDefinition, worker: WorkerClient, group: Group,
        timeout_s: float,
    ) -> McpAccess | None:  # fmt: skip
        """Address and token for this call; None where the worker's channel carries tool calls, where the pool has no
        network to reach the server by, and for code on trial, of which nothing has happened that could be counted.
        """
        if self._server_url is None or self._tokens is None:
            return None
        if worker.carries_tool_calls or pool.network == "none" or group == "trial":
            return None
        context = request["context"]
        identity = SandboxIdentity(
            app_id=app_id,
            component_id=context["componentId"],
            sandbox_id=worker.sandbox_id,
            pool_name=pool.pool_name,
            handler_type=context["handlerType"],
            request_id=request["requestId"],
        )
        return McpAccess(self._server_url, self._tokens.make(identity, lasts_s=max(0.0, timeout_s) + GRACE_S))
