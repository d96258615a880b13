"""Callbacks: calls from outside, each once, to the workflow that waits for it or the component that listens."""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Protocol

import structlog

from uhlp.access.definition_secrets import DefinitionSecrets
from uhlp.clock import Clock
from uhlp.errors import CallbackUnderWay, ListenerNotFound, Unauthorized, Unavailable
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.models.trigger import CallbackTrigger
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.routing.component_requests import ComponentRequests
from uhlp.routing.request import RoutedAnswer
from uhlp.sources.callback_signature import check_signature
from uhlp.sources.input_mapping import mapped_input
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.runtime_store import MISSING, RuntimeValue
from uhlp.tracing import TraceContext

_MARGIN_S = 60.0
REPEATED = {"repeated": True}
DELIVERED = {"delivered": True}

log = structlog.get_logger(__name__)


class WaitingWorkflows(Protocol):
    """Runs of workflows that wait for a callback."""

    async def signal(self, app_id: str, name: str, correlation: str, values: dict[str, Any]) -> bool:
        """Hand it to the runs that wait for this name and correlation; whether any did."""
        ...


class Callbacks:
    """What has come is remembered in the runtime store, so that no server runs it again."""

    def __init__(
        self,
        *,
        registry: ApplicationRegistry,
        requests: ComponentRequests,
        values: FrameworkValues,
        waiting: WaitingWorkflows,
        secrets: DefinitionSecrets,
        share: ExpressionShare,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._requests = requests
        self._values = values
        self._waiting = waiting
        self._secrets = secrets
        self._share = share
        self._clock = clock

    def listener(self, app_id: str, name: str) -> tuple[str, CallbackTrigger] | None:
        """The component that listens, and how; None when no one does. Raises AppNotFound."""
        for component_id, component in self._registry.snapshot(app_id).components.items():
            for trigger in component.definition.triggers:
                if isinstance(trigger, CallbackTrigger) and trigger.name == name:
                    return component_id, trigger
        return None

    async def check_signature(
        self, app_id: str, trigger: CallbackTrigger, headers: Mapping[bytes, bytes], body: bytes
    ) -> str:
        """What stands for this call, and only this one. Raises Unauthorized, Unavailable."""
        if trigger.verification is None:
            raise Unauthorized("This callback needs an application key: send X-API-Key, or Authorization: Bearer.")
        secret = await asyncio.to_thread(self._secrets.resolve, app_id, trigger.verification.secret)
        if secret is None:
            log.error("callback_secret_missing", callback=trigger.name, secret=trigger.verification.secret)
            raise Unavailable("The callback cannot be verified now: the server has no such secret for it.")
        digest = check_signature(trigger.verification, secret=secret, headers=headers, body=body, now=self._clock.now())
        return f"signature:{digest.hex()}"

    async def receive(
        self,
        app_id: str,
        name: str,
        values: dict[str, Any],
        *,
        correlation: str = "",
        idempotency: str | None = None,
        trace: TraceContext,
    ) -> RoutedAnswer | dict[str, Any]:
        """The component's answer; DELIVERED when a workflow took it; REPEATED when it had come before.

        One that failed may come again. Raises ListenerNotFound, CallbackUnderWay while the same one is, and what
        ComponentRequests raises.
        """
        found = self.listener(app_id, name)
        if found is None:
            if await self._waiting.signal(app_id, name, correlation, values):
                return DELIVERED
            raise ListenerNotFound(f"No workflow of {app_id} waits for the callback {name}, and no component listens.")
        component_id, trigger = found
        if idempotency is None:
            return await self._deliver(app_id, component_id, trigger, values, correlation, trace)
        key = f"callback:{app_id}:{name}:{sha256(idempotency.encode()).hexdigest()}"
        timeout_s = self._registry.snapshot(app_id).components[component_id].definition.timeout_ms / 1000
        running = {"traceId": trace.trace_id, "isDone": False}
        if not await self._values.compare_and_set(key, MISSING, running, ttl_seconds=timeout_s + _MARGIN_S):
            before = await self._values.get(key)
            if before.found and before.value["isDone"]:
                return {**REPEATED, "traceId": before.value["traceId"]}
            raise CallbackUnderWay
        try:
            answer = await self._deliver(app_id, component_id, trigger, values, correlation, trace)
        except BaseException:
            await asyncio.shield(self._values.delete(key))
            raise
        done = running | {"isDone": True}
        expected = RuntimeValue(found=True, value=running)
        await self._values.compare_and_set(key, expected, done, ttl_seconds=float(trigger.replay_window_s))
        return answer

    async def _deliver(
        self,
        app_id: str,
        component_id: str,
        trigger: CallbackTrigger,
        values: dict[str, Any],
        correlation: str,
        trace: TraceContext,
    ) -> RoutedAnswer | dict[str, Any]:
        if await self._waiting.signal(app_id, trigger.name, correlation, values):
            return DELIVERED
        details = {"callback": trigger.name} | ({"correlation": correlation} if correlation else {})
        made = await mapped_input(app_id, trigger.input_mapping, values, details, share=self._share)
        return await self._requests.ask(
            app_id, component_id, made, source="callback", source_details=details, trace=trace
        )
