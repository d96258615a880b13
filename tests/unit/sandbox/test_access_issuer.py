"""Which executions get an address of this server and a token for it, and which get neither."""

from typing import Any

import pytest
from pydantic import ValidationError
from sandbox_calls import ARTIFACTS, execute_request

from tests.scripted_http_worker import ScriptedHttpWorker, ScriptedSandbox, fault
from uhlp.access.sandbox_tokens import SandboxIdentity, SandboxTokens
from uhlp.clock import FakeClock, SystemClock
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.access_issuer import GRACE_S
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.fake_worker import response
from uhlp.sandbox.manager import SandboxManager

URL = "http://172.17.0.1:8080"


class HttpSandboxes(FakeDriver):
    """Its workers speak HTTP and answer as `behaviour` says."""

    async def start(self, spec: SandboxSpec) -> Any:
        async def start_worker() -> ScriptedHttpWorker:
            return await ScriptedHttpWorker(self._behaviour).start()

        async def stop(reason: str) -> None:
            """Its workers were killed."""

        sandbox: Any = ScriptedSandbox(spec, sandbox_id="http-1")
        sandbox.start_worker, sandbox.stop, sandbox.transport = start_worker, stop, "http"
        return sandbox


async def context_of(
    driver: FakeDriver, tokens: SandboxTokens | None, *, server_url: str | None = URL, group: Any = "serving",
    network: Any = "bridge", clock: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """What the worker was told in one execution."""
    told: list[dict[str, Any]] = []

    async def remember(worker: Any, request: dict[str, Any]) -> dict[str, Any]:
        told.append(request["context"])
        return response(request, None)

    driver._behaviour = remember
    manager = SandboxManager(
        driver=driver, config=SandboxSettings(server_url=server_url, spare_workers=0), clock=clock or SystemClock(),
        meter=NullMeter(), tokens=tokens,
    )  # fmt: skip
    await manager.open()
    pool = PoolDefinition(pool_name="node", network=network)
    request = execute_request(request_id="req-1.4")
    try:
        await manager.execute(
            "shop", pool, request, artifacts=ARTIFACTS, call_tool=None, timeout_s=5, group=group
        )  # fmt: skip
    finally:
        await manager.close()
    assert "mcpToken" not in request["context"]
    return told[0]


async def test_an_image_on_a_network_gets_an_address_and_a_token_for_its_call() -> None:
    tokens = SandboxTokens(clock=SystemClock())
    context = await context_of(HttpSandboxes(), tokens)
    assert context["mcpEndpoint"] == URL
    assert tokens.holder(context["mcpToken"].encode()) == SandboxIdentity(
        "shop", "parse", "http-1", "node", "JIT", "req-1.4"
    )


async def test_a_token_is_good_until_a_moment_after_the_deadline_of_its_call() -> None:
    clock = FakeClock()
    tokens = SandboxTokens(clock=clock)
    raw = (await context_of(HttpSandboxes(), tokens, clock=clock))["mcpToken"].encode()
    clock.advance(5 + GRACE_S - 0.01)
    assert tokens.holder(raw) is not None
    clock.advance(0.01)
    assert tokens.holder(raw) is None


@pytest.mark.parametrize(
    ("driver", "without"),
    [
        (HttpSandboxes, {"server_url": None}),
        (HttpSandboxes, {"network": "none"}),
        (HttpSandboxes, {"group": "trial"}),
        (FakeDriver, {}),
    ],
    ids=["no address is set", "no network", "on trial", "the built-in channel"],
)
async def test_otherwise_both_are_left_out(driver: type[FakeDriver], without: dict[str, Any]) -> None:
    context = await context_of(driver(), SandboxTokens(clock=SystemClock()), **without)
    assert not {"mcpEndpoint", "mcpToken"} & context.keys()


@pytest.mark.parametrize("status", [400, 500, 503])
async def test_an_image_that_tells_its_token_in_an_error_is_not_repeated(status: int) -> None:
    seen: list[str] = []

    async def tell(worker: Any, request: dict[str, Any]) -> bytes:
        seen.append(request["context"]["mcpToken"])
        return fault(status, code="X", message=f"refused: {seen[-1]}", traceback=f"at {seen[-1]}")

    manager = SandboxManager(
        driver=HttpSandboxes(tell), config=SandboxSettings(server_url=URL), clock=SystemClock(), meter=NullMeter(),
        tokens=SandboxTokens(clock=SystemClock()),
    )  # fmt: skip
    await manager.open()
    try:
        said = await manager.execute(
            "shop", PoolDefinition(pool_name="node", network="bridge"), execute_request(), artifacts=ARTIFACTS,
            call_tool=None, timeout_s=5, group="serving",
        )  # fmt: skip
    except Exception as error:
        said = {"message": str(error)}
    finally:
        await manager.close()
    assert "[token]" in str(said)
    assert seen[0] not in str(said)


@pytest.mark.parametrize(
    "url", ["", "172.17.0.1:8080", "ftp://a", "http://", "http://a/", "http://me:secret@a", "http://a?b", "http://a b"]
)
def test_an_address_that_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValidationError):
        SandboxSettings(server_url=url)


@pytest.mark.parametrize("url", [URL, "https://uhlp.example.com", "http://[fd00::1]:8080", "http://a/behind/a-proxy"])
def test_an_address_may_have_a_path(url: str) -> None:
    assert SandboxSettings(server_url=url).server_url == url
