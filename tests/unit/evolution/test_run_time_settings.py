"""What people change while the server runs: checked as a whole, in the ledger, in force at once and after a restart."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evolution.world import World, lines
from uhlp.clock import FakeClock
from uhlp.errors import ExpressionInvalid, StateConflict, ValidationFailed
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.config_sections import CanaryConfig
from uhlp.evolution.evolution_numbers import EvolutionNumbers, SetAtRunTime, number_fields
from uhlp.evolution.global_settings import GlobalSettings
from uhlp.evolution.ledger import Event
from uhlp.evolution.run_time_settings import RunTimeSettings
from uhlp.evolution.store import EvolutionStore

ANN = {"actor": "ann", "reason": "stricter"}
RULE = {"description": "busy", "condition": {"expression": "count(requests) > 600"}}


class NoCandidates:
    def candidates(self) -> list[Any]:
        return []


class Desk:
    """Run-time settings over a real store; `reloads` counts how often applications were told."""

    def __init__(self, store: EvolutionStore, given: EvolutionConfig, origins: dict[str, str], book: Any) -> None:
        self.store = store
        self.numbers = EvolutionNumbers(given, origins=origins)
        self.everywhere = GlobalSettings(configuration={"currency": "EUR"}, rules=(), origins=origins)
        self.reloads = 0
        self.settings = RunTimeSettings(
            store=store, book=book, numbers=self.numbers, global_settings=self.everywhere,
            reload_configuration=self._reload, clock=FakeClock(),
        )  # fmt: skip

    async def _reload(self) -> None:
        self.reloads += 1


@asynccontextmanager
async def opened(folder: Path, given=None, origins=None, book=None) -> AsyncIterator[Desk]:
    async with EvolutionStore(path=folder / "evolution.db", clock=FakeClock()) as store:
        desk = Desk(store, given or EvolutionConfig(), origins or {}, book or NoCandidates())
        await desk.settings.open()
        yield desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path) as one:
        yield one


def test_every_number_has_a_unit_a_default_and_bounds() -> None:
    described = EvolutionNumbers(EvolutionConfig()).described()
    assert set(described) == {name for name, _ in number_fields()}
    assert len(described) > 50
    assert {"epsilon", "canary.weights", "monitor.threshold", "limits.usd_per_day", "share.rho"} <= described.keys()
    for name, one in described.items():
        assert one["unit"], name
        assert one["value"] == one["default"], name
        assert one["bounds"] or name == "canary.weights", name
    assert (described["delta"]["allowed"], described["canary.weights"]["allowed"]) == (
        "> 0, ≤ 0.2",
        "rises from above 0 to exactly 1",
    )
    assert described["monitor.threshold"]["allowed"] == "≥ 10, ≤ 1,000,000,000"
    assert described["delta"]["bounds"] == {"exclusiveMinimum": 0, "maximum": 0.2}
    assert described["canary.min_step_s"] == {
        "value": 60.0, "default": 60.0, "unit": "s", "bounds": {"minimum": 0, "maximum": 31 * 86_400},
        "allowed": "≥ 0, ≤ 2,678,400", "origin": "default", "changedBy": None, "changedAt": None, "reason": None,
    }  # fmt: skip


def test_the_origin_of_a_number_is_told() -> None:
    origins = {"evolution.epsilon": "environment", "evolution.delta": "uhlp.toml", "evolution.alpha": "default"}
    described = EvolutionNumbers(EvolutionConfig(), origins=origins).described()
    told = [described[name]["origin"] for name in ("epsilon", "delta", "alpha", "n_max")]
    assert told == ["environment", "file", "default", "default"]


async def test_a_change_is_in_force_at_once_and_says_who_made_it(desk: Desk) -> None:
    told: list[float] = []
    desk.settings.on_change(lambda: told.append(desk.numbers.now.delta))
    answer = await desk.settings.change_numbers({"delta": 0.01, "canary.min_step_s": 30}, **ANN)
    assert (desk.numbers.now.delta, desk.numbers.now.canary.min_step_s) == (0.01, 30)
    assert told == [0.01]
    assert answer["configHash"] == desk.numbers.now.digest != EvolutionConfig().digest
    shown = answer["numbers"]["delta"]
    assert (shown["value"], shown["default"], shown["origin"]) == (0.01, 0.05, "run time")
    assert (shown["changedBy"], shown["changedAt"], shown["reason"]) == ("ann", FakeClock().now(), "stricter")


async def test_a_change_stands_in_the_ledger_with_the_old_and_the_new_value(desk: Desk) -> None:
    await desk.settings.change_numbers({"delta": 0.01, "alpha": 0.02}, **ANN)
    await desk.settings.change_numbers({}, reset=["delta"], actor="bob", reason="too strict")
    first, second, third = [sealed.entry for sealed in await desk.store.entries()]
    assert {one.event for one in (first, second, third)} == {Event.SETTING}
    assert (first.actor, first.reason, first.patch["name"]) == (
        "ann",
        "evolution.delta from 0.05 to 0.01: stricter",
        "evolution.delta",
    )
    assert [one.evidence for one in (first, second, third)] == [
        {"old": 0.05, "new": 0.01},
        {"old": 0.05, "new": 0.02},
        {"old": 0.01, "new": 0.05},
    ]
    assert (third.actor, third.patch) == ("bob", {"name": "evolution.delta", "value": None})
    assert (await desk.store.verify()).ok
    assert await desk.store.check_fold() == []


@pytest.mark.parametrize(
    ("changes", "path", "bound"),
    [
        ({"delta": 0.3}, "delta", "less than or equal to 0.2"),
        ({"epsilon": 0}, "epsilon", "greater than 0"),
        ({"canary.min_step_s": -1}, "canary.min_step_s", "greater than or equal to 0"),
        ({"canary.weights": [0.5, 0.25, 1]}, "canary.weights", "rise from above 0 to exactly 1"),
        ({"canary.weights": []}, "canary.weights", "rise from above 0"),
        ({"canary.weights": [one / 21 for one in range(1, 22)]}, "canary.weights", "at most 20"),
        ({"n_max": "5000"}, "n_max", "valid integer"),
        ({"n_max": 100.5}, "n_max", "valid integer"),
        ({"delta": True}, "delta", "valid number"),
        ({"delta": None}, "delta", "valid number"),
        ({"monitor.fast_failures": 30}, "monitor", "at most fast_window, 20"),
        ({"judge.known_cases": 50}, "judge", "at most most_cases, 40"),
        ({"cycle_s": 20, "delta": 0.3}, "delta", "0.2"),
        ({"cycle": 20}, "cycle", "no such number"),
        ({"canary": {"min_step_s": 1}}, "canary", "no such number"),
    ],
)
async def test_what_is_out_of_bounds_is_named_and_changes_nothing(
    desk: Desk, changes: dict[str, Any], path: str, bound: str
) -> None:
    with pytest.raises(ValidationFailed, match=bound) as refused:
        await desk.settings.change_numbers(changes, **ANN)
    assert [problem["path"] for problem in refused.value.details["problems"]] == [path]
    assert desk.numbers.now == EvolutionConfig()
    assert await desk.store.entries() == []


async def test_nothing_and_two_things_at_once_are_refused(desk: Desk) -> None:
    with pytest.raises(ValidationFailed, match="Nothing is asked for"):
        await desk.settings.change_numbers({}, **ANN)
    with pytest.raises(ValidationFailed, match="changed and reset"):
        await desk.settings.change_numbers({"delta": 0.1}, reset=["delta"], **ANN)


async def test_a_budget_may_be_taken_away_and_given_back_to_the_settings(tmp_path: Path) -> None:
    given = EvolutionConfig().with_overrides({"limits": {"usd_per_day": 5.0}})
    async with opened(tmp_path, given) as desk:
        await desk.settings.change_numbers({"limits.usd_per_day": None}, **ANN)
        assert desk.numbers.now.limits.usd_per_day is None
        await desk.settings.change_numbers({}, reset=["limits.usd_per_day"], **ANN)
        assert desk.numbers.now.limits.usd_per_day == 5.0


async def test_what_was_set_wins_over_file_and_environment_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as desk:
        await desk.settings.change_numbers({"delta": 0.01, "canary.weights": [0.1, 1]}, **ANN)
        await desk.settings.change_global({"optimization.rules": [RULE], "configuration": {"currency": "CHF"}}, **ANN)
    given = EvolutionConfig(delta=0.1, alpha=0.1)
    async with opened(tmp_path, given, {"evolution.delta": "environment", "evolution.alpha": "environment"}) as again:
        assert (again.numbers.now.delta, again.numbers.now.alpha) == (0.01, 0.1)
        assert again.numbers.now.canary.weights == (0.1, 1.0)
        assert again.numbers.described()["delta"]["changedBy"] == "ann"
        assert again.everywhere.configuration == {"currency": "CHF"}
        assert [rule.description for rule in again.everywhere.rules] == ["busy"]
        assert again.reloads == 1


@pytest.mark.parametrize("spoilt", ["{garbage", "[1]", '{"value": 1}', "\x00"])
async def test_a_spoilt_setting_stops_no_start_and_is_told(tmp_path: Path, spoilt: str) -> None:
    async with opened(tmp_path) as desk:
        await desk.settings.change_numbers({"delta": 0.01}, **ANN)
    with closing(sqlite3.connect(tmp_path / "evolution.db")) as db, db:
        db.execute("UPDATE settings SET value = ?", (spoilt,))
    async with opened(tmp_path) as again:
        assert again.numbers.now.delta == 0.05
        assert [one.what for one in await again.store.check_fold()] == ["settings"]


def test_a_kept_number_that_fits_no_more_is_left_out_alone() -> None:
    numbers = EvolutionNumbers(EvolutionConfig())
    kept = {"delta": 0.9, "alpha": 0.1, "gone": 1}
    numbers.load({name: SetAtRunTime(value, "ann", 0.0, "r") for name, value in kept.items()})
    assert (numbers.now.delta, numbers.now.alpha) == (0.05, 0.1)


async def test_global_rules_and_configuration_are_replaced_whole_and_told_with_their_origin(tmp_path: Path) -> None:
    async with opened(tmp_path, origins={"configuration.currency": "uhlp.toml"}) as desk:
        before = desk.settings.global_settings()
        assert (before["configuration"]["value"], before["configuration"]["origin"]) == ({"currency": "EUR"}, "file")
        assert before["optimization.rules"]["origin"] == "default"
        after = await desk.settings.change_global({"configuration": {"locale": "de"}}, **ANN)
        assert (after["configuration"]["value"], after["configuration"]["changedBy"]) == ({"locale": "de"}, "ann")
        assert (desk.everywhere.configuration, desk.reloads) == ({"locale": "de"}, 1)
        await desk.settings.change_global({"optimization.rules": [RULE]}, **ANN)
        assert (desk.everywhere.rules[0].condition.expression, desk.reloads) == ("count(requests) > 600", 1)
        await desk.settings.change_global({}, reset=["configuration"], **ANN)
        assert desk.everywhere.configuration == {"currency": "EUR"}


async def test_the_deepest_configuration_that_is_taken_leaves_a_ledger_that_can_be_read(desk: Desk) -> None:
    await desk.settings.change_global({"configuration": json.loads('{"a":' * 32 + "1" + "}" * 32)}, **ANN)
    assert len(await desk.store.entries()) == 1
    assert (await desk.store.verify()).ok
    assert await desk.store.check_fold() == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"configuration": {"key": "sk-abcdefghijklmnop1234"}}, ValidationFailed, "secret:NAME"),
        ({"configuration": {"key": f"uhlp_admin_{'a' * 16}_{'b' * 64}"}}, ValidationFailed, "a UHLP admin token"),
        ({"configuration": {"key": "line\nsk-abcdefghijklmnop1234"}}, ValidationFailed, "secret:NAME"),
        ({"configuration": {"key": "x" * 300_000}}, ValidationFailed, "bytes"),
        ({"configuration": json.loads('{"a":' * 40 + "1" + "}" * 40)}, ValidationFailed, "levels deep"),
        ({"configuration": {"redact": [5]}}, ValidationFailed, "redact is a list"),
        ({"configuration": {"count": 2**70}}, ValidationFailed, "beyond 64 bits"),
        ({"optimization.rules": [{"condition": {"expression": "latency > 1s"}}]}, ExpressionInvalid, "not valid"),
        (
            {"optimization.rules": [{**RULE, "actionParams": {"windowS": 10**7}}]},
            ValidationFailed,
            r"rules\.0\.actionParams\.windowS: windowS is a number from 1 to 3024000",
        ),
        ({"optimization.rules": [{"condition": {}}]}, ValidationFailed, r"rules\.0\.condition\.expression"),
        ({"optimization.rules": [{**RULE, "acton": "x"}]}, ValidationFailed, r"rules\.0\.acton"),
    ],
)
async def test_a_global_setting_that_is_not_valid_changes_nothing(desk: Desk, changes, error, words) -> None:
    with pytest.raises(error, match=words):
        await desk.settings.change_global({"configuration": {"good": 1}, **changes}, **ANN)
    assert (desk.everywhere.configuration, desk.everywhere.rules) == ({"currency": "EUR"}, ())
    assert await desk.store.entries() == []


# -- what changes with them, and what does not


def settings_of(world: World) -> RunTimeSettings:
    return RunTimeSettings(
        store=world.store, book=world.book, numbers=world.numbers, clock=world.clock,
        global_settings=GlobalSettings(configuration={}, rules=()),
        reload_configuration=world.registry.reload_configuration,
    )  # fmt: skip


async def test_an_evidence_account_keeps_the_numbers_it_was_begun_with(world: World) -> None:
    candidate_id = await world.to_state("shadow")
    live = world.governor.evidence_of(candidate_id)
    assert live is not None
    begun = world.book.candidate(candidate_id)
    await settings_of(world).change_numbers(
        {"epsilon": 0.4, "delta": 0.2, "alpha": 0.2, "n_max": 100, "monitor.threshold": 10}, **ANN
    )
    await world.send_all(lines(5, start=900))
    account = live.account
    assert (account.epsilon, account.delta, account.alpha, account.n_max) == (0.1, 0.025, 0.05, 5000)
    assert live.audits.to_dict()["threshold"] == 1000
    now = world.book.candidate(candidate_id)
    assert now.config_hash == begun.config_hash == world.config.digest != world.numbers.now.digest


async def test_the_next_step_of_a_canary_waits_for_the_numbers_in_force(world: World) -> None:
    candidate_id = await world.to_state("canary")
    desk = settings_of(world)
    await desk.change_numbers({"canary.min_executions": 1_000_000}, **ANN)
    await world.send_all(lines(60, start=1_000))
    world.clock.advance(61)
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == 0
    await desk.change_numbers({"canary.min_executions": 1}, **ANN)
    await world.daemon.run_cycle()
    assert world.book.candidate(candidate_id).canary_step == 1


async def test_the_shares_of_a_canary_do_not_change_under_it(world: World) -> None:
    candidate_id = await world.to_state("canary")
    with pytest.raises(StateConflict, match=candidate_id):
        await settings_of(world).change_numbers({"canary.weights": [1]}, **ANN)
    live = world.live()
    assert live is not None
    assert live.weight == 0.05


def test_a_step_that_a_shorter_list_has_no_more_gets_no_larger_share_than_was_decided() -> None:
    canary = CanaryConfig(weights=(0.1, 0.5, 1.0))
    assert [canary.share_at(step) for step in (None, 0, 1, 2, 3)] == [0.1, 0.1, 0.5, 1.0, 0.5]
    assert CanaryConfig(weights=(1.0,)).share_at(3) == 1.0
