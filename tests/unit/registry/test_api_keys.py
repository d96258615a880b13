"""API keys: shown once, kept as hashes, checked once."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.registry.conftest import CHEAP
from uhlp.errors import TooManyRequests
from uhlp.registry.api_keys import ApiKeys
from uhlp.registry.config import RegistrySettings


@pytest.fixture
async def keys():
    made = ApiKeys(settings=CHEAP)
    yield made
    made.close()


async def test_a_key_is_checked_once_and_then_known(keys):
    raw, kept = await keys.create(["invoke:*"], "shop")
    keys.replace("desk", {kept.key_id: kept})
    first, second = await asyncio.gather(keys.validate(raw), keys.validate(raw))
    assert first == second == keys.known(raw)
    assert kept.key_hash.startswith("$argon2id$")


async def test_wrong_unknown_disabled_and_malformed_keys_are_nobody(keys):
    raw, kept = await keys.create(["*"], "")
    keys.replace("desk", {kept.key_id: kept})
    wrong = raw[:-1] + ("0" if raw[-1] != "0" else "1")
    for other in (wrong, f"uhlp_ffffffffffffffff_{'0' * 48}", "", "uhlp__", "\ud800", "x" * 100_000):
        assert await keys.validate(other) is None
        assert keys.known(other) is None
    keys.replace("desk", {kept.key_id: kept.model_copy(update={"enabled": False})})
    assert await keys.validate(raw) is None


async def test_disabling_replacing_or_removing_a_key_ends_it_at_once(keys):
    raw, kept = await keys.create(["*"], "")
    _, other = await keys.create(["*"], "")
    for changed in (
        {},
        {kept.key_id: kept.model_copy(update={"enabled": False})},
        {kept.key_id: kept.model_copy(update={"key_hash": other.key_hash})},
    ):
        keys.replace("desk", {kept.key_id: kept})
        assert await keys.validate(raw) is not None
        keys.replace("desk", changed)
        assert keys.known(raw) is None
        assert await keys.validate(raw) is None


async def test_permissions_follow_the_definition_without_another_check(keys):
    raw, kept = await keys.create(["invoke:a"], "")
    keys.replace("desk", {kept.key_id: kept})
    await keys.validate(raw)
    keys.replace("desk", {kept.key_id: kept.model_copy(update={"permissions": ("invoke:b",)})})
    assert keys.known(raw).permissions == ("invoke:b",)


async def test_a_key_id_taken_by_two_applications_serves_each_its_own_key(keys):
    raw, kept = await keys.create(["*"], "")
    _, stolen = await keys.create(["*"], "")
    keys.replace("thief", {kept.key_id: stolen.model_copy(update={"key_id": kept.key_id})})
    keys.replace("desk", {kept.key_id: kept})
    assert (await keys.validate(raw)).app_id == "desk"


async def test_the_loop_goes_on_while_keys_are_hashed_and_checked():
    slow = ApiKeys(settings=RegistrySettings(argon2_memory_kib=8_192, argon2_time_cost=16))
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    loop = asyncio.get_running_loop()
    loop.call_soon(turn)
    raw, kept = await slow.create(["*"], "")
    slow.replace("desk", {kept.key_id: kept})
    after_hash = turns
    assert await slow.validate(raw) is not None
    after_check = turns
    assert await slow.validate(raw + "x") is None
    slow.close()
    assert min(after_hash, after_check - after_hash, turns - after_check) > 20


async def test_a_flood_of_unknown_keys_is_turned_away_and_known_ones_are_not(keys):
    raw, kept = await keys.create(["*"], "")
    keys.replace("desk", {kept.key_id: kept})
    assert await keys.validate(raw) is not None
    flood = [asyncio.ensure_future(keys.validate(f"uhlp_ffffffff_{n:048d}")) for n in range(1_000)]
    await asyncio.sleep(0)
    assert (await keys.validate(raw)).app_id == "desk"
    found = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(one) for one in found} == {TooManyRequests, type(None)}
    assert sum(one is None for one in found) <= 200
    assert await keys.validate("uhlp_ffffffff_" + "0" * 48) is None


@given(st.text(max_size=80))
def test_looking_up_any_text_is_safe(raw):
    keys = ApiKeys(settings=CHEAP)
    assert keys.known(raw) is None
    keys.close()
