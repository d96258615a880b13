"""A request from inside the server: the component as it is registered, its input schema, and a deadline."""

import pytest

from tests.unit.evolution.world import APP, PARSE, World, component
from tests.unit.routing.test_request_router import put
from uhlp.errors import AppNotFound, ComponentNotFound, DeadlineExceeded, InputInvalid
from uhlp.routing.component_requests import ComponentRequests
from uhlp.routing.request import RoutedAnswer, RoutedRequest


class Recorded:
    """The router of a world, and what it was asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.requests: list[RoutedRequest] = []

    async def handle(self, request: RoutedRequest) -> RoutedAnswer:
        self.requests.append(request)
        return await self._world.router.handle(request)


@pytest.fixture
def router(world: World) -> Recorded:
    return Recorded(world)


@pytest.fixture
def requests(world: World, router: Recorded) -> ComponentRequests:
    return ComponentRequests(registry=world.registry, router=router, clock=world.clock)


async def test_a_component_answers_whatever_asks(requests: ComponentRequests, router: Recorded) -> None:
    details = {"queue": "orders", "messageId": "1", "deliveryCount": 1}
    answer = await requests.ask(APP, PARSE, {"text": "3 pears"}, source="queue", source_details=details)
    assert answer.result.data == {"quantity": 3, "product": "pears"}
    (request,) = router.requests
    assert (request.source, request.source_details) == ("queue", details)
    assert len(request.trace_id) == 32


async def test_the_callers_trace_goes_on(requests: ComponentRequests, router: Recorded) -> None:
    await requests.ask(APP, PARSE, {"text": "3 pears"}, source="internal", trace_id="a" * 32)
    assert router.requests[0].trace_id == "a" * 32


async def test_what_is_not_there_and_what_is_no_input_is_not_routed(
    requests: ComponentRequests, router: Recorded
) -> None:
    with pytest.raises(AppNotFound):
        await requests.ask("nobody", PARSE, {}, source="internal")
    with pytest.raises(ComponentNotFound, match="no component nothing"):
        await requests.ask(APP, "nothing", {}, source="internal")
    with pytest.raises(InputInvalid, match="JSON object"):
        await requests.ask(APP, PARSE, ["text"], source="internal")  # type: ignore[arg-type]
    assert router.requests == []


async def test_an_input_against_the_schema_is_refused_with_every_problem(empty_world: World) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "lang": {"type": "string"}}}
    await empty_world.register(component(inputSchema=schema))
    requests = ComponentRequests(registry=empty_world.registry, router=empty_world.router, clock=empty_world.clock)
    with pytest.raises(InputInvalid) as raised:
        await requests.ask(APP, PARSE, {"text": 3, "lang": 4}, source="internal")
    assert {one["path"] for one in raised.value.details["problems"]} == {"/text", "/lang"}
    assert empty_world.runner.executed == []


async def test_a_callers_deadline_holds_when_it_ends_before_the_components(
    world: World, requests: ComponentRequests, router: Recorded
) -> None:
    put(world)
    world.runner.faults = {"hang": "hang"}
    answer = await requests.ask(APP, PARSE, {"text": "hang"}, source="internal", timeout_s=1.0)
    assert router.requests[0].deadline == world.clock.monotonic() + 1.0
    assert answer.deoptimized == "timeout"  # after its share of one second, not of the component's 30


async def test_nothing_runs_after_the_callers_deadline(world: World, requests: ComponentRequests) -> None:
    with pytest.raises(DeadlineExceeded):
        await requests.ask(APP, PARSE, {"text": "3 pears"}, source="internal", timeout_s=0.0)
    assert world.runner.executed == []
