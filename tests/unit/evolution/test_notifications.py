"""What is told of decisions and conditions, and how a stream of them is followed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.evolution.crashing_ledger import decisions
from tests.unit.evolution.settings_set import put_setting
from tests.unit.evolution.world import APP, World, component, lines
from uhlp.clock import FakeClock
from uhlp.errors import TooManyRequests
from uhlp.evolution.alert_watch import AlertWatch
from uhlp.evolution.notifications import EVENTS, Alert, Notification, Notifications
from uhlp.evolution.records import FoldProblem
from uhlp.evolution.store import EvolutionStore
from uhlp.models.definition import ModelBudget


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EvolutionStore]:
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=FakeClock()) as opened:
        yield opened


@pytest.fixture
def notifications(store: EvolutionStore) -> Notifications:
    return Notifications(store=store, clock=FakeClock())


async def some(stream: AsyncIterator[Notification | None], count: int) -> list[Notification]:
    """The next `count` of a stream, heartbeats left out."""
    found: list[Notification] = []
    async with asyncio.timeout(30):
        async for told in stream:
            if told is not None:
                found.append(told)
            if len(found) == count:
                break
    return found


async def fill(store: EvolutionStore) -> None:
    for changes in decisions():
        await store.append_all(changes)


async def test_a_follower_is_told_of_every_decision_in_the_ledgers_order(
    store: EvolutionStore, notifications: Notifications
) -> None:
    stream = notifications.follow(after=0)
    writing = asyncio.create_task(fill(store))
    found = await some(stream, 6)
    await writing
    assert [(told.seq, told.event) for told in found] == [
        (1, "discovered"), (2, "synthesized"), (3, "rejected"), (4, "discovered"), (5, "setting"), (6, "paused"),
    ]  # fmt: skip
    assert {told.event for told in found} <= EVENTS
    assert len({told.id for told in found}) == 6
    assert (found[2].candidate_id, found[2].reason, found[2].severity) == ("c-1", "wrong", "info")


async def test_a_follower_that_was_away_reads_on_where_it_was(
    store: EvolutionStore, notifications: Notifications
) -> None:
    await fill(store)
    assert [told.seq for told in await some(notifications.follow(after=4), 2)] == [5, 6]


async def test_a_new_follower_begins_now(store: EvolutionStore, notifications: Notifications) -> None:
    await fill(store)
    stream = notifications.follow(heartbeat_s=0.01)
    assert await anext(stream) is None, "a heartbeat, since there is no news"
    await store.resume(actor="ann", reason="r", app_id="shop")
    assert [told.seq for told in await some(stream, 1)] == [7]


async def test_a_long_absence_is_read_in_pages(store: EvolutionStore, notifications: Notifications) -> None:
    for number in range(250):
        await put_setting(store, "n", number, actor="ann", reason="r")
    assert [told.seq for told in await some(notifications.follow(after=0), 250)] == list(range(1, 251))


async def test_one_application_can_be_followed(store: EvolutionStore, notifications: Notifications) -> None:
    stream = notifications.follow(after=0, app_id="desk", heartbeat_s=0.01)
    await fill(store)
    assert await anext(stream) is None
    notifications.alert(Alert.FROZEN, reason="three rollbacks", app_id="shop")
    notifications.alert(Alert.FROZEN, reason="four rollbacks", app_id="desk")
    await store.pause(actor="ann", reason="r", app_id="desk")
    found = await some(stream, 2)
    assert {(told.event, told.reason) for told in found} == {("frozen", "four rollbacks"), ("paused", "r")}


async def test_conditions_have_no_number_and_a_slow_follower_keeps_the_newest(
    store: EvolutionStore, notifications: Notifications
) -> None:
    stream = notifications.follow(after=0, heartbeat_s=0.01)
    assert await anext(stream) is None
    for number in range(150):
        notifications.alert(Alert.BUDGET_EXHAUSTED, reason=str(number))
    found = await some(stream, 100)
    assert [told.reason for told in found] == [str(number) for number in range(50, 150)]
    assert {told.seq for told in found} == {None}


async def test_a_stream_ends_when_it_is_asked_to(notifications: Notifications) -> None:
    until = asyncio.Event()
    stream = notifications.follow(until=until, heartbeat_s=3600)
    asyncio.get_running_loop().call_soon(until.set)
    assert [told async for told in stream] == []


async def test_there_are_only_so_many_followers_and_who_leaves_makes_room(store: EvolutionStore) -> None:
    notifications = Notifications(store=store, clock=FakeClock(), most_followers=2)
    streams = [notifications.follow(heartbeat_s=0.01) for _ in range(3)]
    assert [await anext(stream) for stream in streams[:2]] == [None, None]
    with pytest.raises(TooManyRequests):
        await anext(streams[2])
    await streams[0].aclose()  # type: ignore[attr-defined]
    assert await anext(notifications.follow(heartbeat_s=0.01)) is None


async def test_a_receiver_that_fails_undoes_no_decision(store: EvolutionStore, notifications: Notifications) -> None:
    def broken(told: Notification) -> None:
        raise RuntimeError("out of order")

    notifications.on_notification(broken)
    await fill(store)
    assert (await store.head())[0] == 6


async def test_waiting_for_approval_is_told_once(empty_world: World) -> None:
    world = empty_world
    told: list[Notification] = []
    Notifications(store=world.store, clock=world.clock).on_notification(told.append)
    await world.register()
    candidate = await world.daemon.discover(APP, "parse", actor="oracle", reason="a rule", needs_approval=True)
    await world.oversight.act(candidate.id, "approve", actor="ann", reason="go on")
    events = [(one.event, one.severity) for one in told]
    assert events == [("discovered", "info"), ("approval_wanted", "warning"), ("noted", "info")]
    assert told[0].id != told[1].id
    assert told[0].seq == told[1].seq


async def test_a_promotion_and_its_rollback_are_told_with_their_evidence(world: World) -> None:
    told: list[Notification] = []
    Notifications(store=world.store, clock=world.clock).on_notification(told.append)
    candidate_id = await world.to_state("promoted")
    await world.oversight.act(candidate_id, "rollback", actor="ann", reason="a rehearsal")
    promoted, rolled_back = (next(one for one in told if one.event == event) for event in ("promoted", "rolled_back"))
    assert (promoted.actor, rolled_back.actor, rolled_back.reason) == ("governor", "ann", "a rehearsal")
    assert promoted.evidence["n"] >= 41
    assert rolled_back.severity == "warning"


# -- conditions


def watch_of(world: World, problems: dict[str, list[str]] | None = None) -> tuple[AlertWatch, list[Notification]]:
    notifications = Notifications(store=world.store, clock=world.clock)
    told: list[Notification] = []
    notifications.on_notification(lambda one: told.append(one) if one.seq is None else None)
    watch = AlertWatch(
        notifications=notifications, book=world.book, governor=world.governor, budgets=world.budgets,
        app_registry=world.registry, windows=world.windows,
        sandbox_problems=lambda app_id: (problems or {}).get(app_id, []),
    )  # fmt: skip
    return watch, told


async def test_a_quiet_server_has_nothing_to_tell(world: World) -> None:
    await world.to_state("promoted")
    watch, told = watch_of(world)
    await watch.run_cycle()
    assert told == []
    assert watch.standing() == []


async def test_a_definition_that_does_not_compile_is_told_once_and_again_when_it_comes_back(world: World) -> None:
    watch, told = watch_of(world)
    good = (await world.state.read_tree(APP)).files["component_registry.yaml"]

    async def write(content: bytes) -> None:
        await world.state.commit(APP, {"component_registry.yaml": content}, message="From outside")
        await world.registry.run_cycle()
        await watch.run_cycle()
        await watch.run_cycle()

    await write(b"components: 7")
    await write(good)
    assert [(one.event, one.app_id) for one in told] == [("application_degraded", APP)]
    assert told[0].reason.startswith("DEGRADED: ")
    await write(b"components: 7")
    assert len(told) == 2
    assert [one["event"] for one in watch.standing()] == ["application_degraded"]


async def test_sandboxes_that_do_not_start_degrade_their_application(world: World) -> None:
    problems = {APP: ["No sandbox of pool default starts."]}
    watch, told = watch_of(world, problems)
    await watch.run_cycle()
    assert [one.reason for one in told] == ["DEGRADED: No sandbox of pool default starts."]
    problems.clear()
    await watch.run_cycle()
    assert watch.standing() == []


async def test_a_freeze_is_told(empty_world: World) -> None:
    world = empty_world
    names = ("one", "two", "three")
    await world.register(*(component(name) for name in names))
    watch, told = watch_of(world)
    for name in names:
        assert [one.event for one in told] == []
        candidate_id = await world.optimize_proven(name)
        await world.oversight.act(candidate_id, "rollback", actor="ann", reason="a rehearsal")
        await watch.run_cycle()
    assert [(one.event, one.reason) for one in told] == [
        ("frozen", "frozen: 3 rollbacks within an hour; nothing of this application goes on until that is past")
    ]
    world.clock.advance(3601)
    await watch.run_cycle()
    assert watch.standing() == []


async def test_a_spent_budget_is_told_for_the_application_and_for_evolution(empty_world: World) -> None:
    world = empty_world
    await world.register(app={"llm": {"budget": {"tokensPerDay": 200}}})
    watch, told = watch_of(world)
    await watch.run_cycle()
    assert told == []
    await world.send_all(lines(2))
    await watch.run_cycle()
    await watch.run_cycle()
    assert {one.event for one in told} == {"budget_exhausted"}
    assert told[0].evidence["limit"] == 200
    assert ModelBudget(tokens_per_day=200) == world.registry.snapshot(APP).definition.llm.budget
    world.clock.advance(86_400)
    await watch.run_cycle()
    assert watch.standing() == []


async def test_a_ledger_that_does_not_match_is_critical(world: World) -> None:
    world.book.problems = (FoldProblem("c-1", "row and ledger differ"),)
    watch, told = watch_of(world)
    await watch.run_cycle()
    assert [(one.event, one.severity, one.reason) for one in told] == [
        ("ledger_mismatch", "critical", "c-1: row and ledger differ")
    ]


async def test_a_model_that_is_down_behind_a_serving_handler_is_critical_and_the_handler_serves_on(
    world: World,
) -> None:
    candidate_id = await world.to_state("promoted")
    watch, told = watch_of(world)
    world.clock.advance(600)
    world.model.is_down = True
    for text in lines(60, start=50_000):
        assert (await world.send(text)).handler == "jit"
    await watch.run_cycle()
    assert [(one.event, one.severity, one.candidate_id) for one in told] == [
        ("rollback_target_down", "critical", candidate_id)
    ]
    assert world.state_of(candidate_id) == "promoted"
    world.model.is_down = False
    await world.send_all(lines(30, start=60_000))
    await watch.run_cycle()
    assert watch.standing() == []
