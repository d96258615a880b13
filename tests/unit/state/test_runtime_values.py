"""Runtime values of applications and of the framework: whose keys are whose, and how many an application may have."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uhlp.errors import PayloadTooLarge, RuntimeQuotaExceeded, ValidationFailed
from uhlp.state.config import RuntimeLimits
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.runtime_store import MISSING, RuntimeValue
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

LIMITS = RuntimeLimits(keys=5, value_bytes=32, entries=3)


@pytest.fixture
async def runtime():
    store = SqliteRuntimeStore(":memory:")
    yield store
    await store.aclose()


@pytest.fixture
def state(runtime, tmp_path) -> StateManager:
    return StateManager(definitions=DefinitionStore(tmp_path), runtime=runtime, limits=LIMITS)


async def test_values_and_streams_stand_under_the_application_s_own_keys(state, runtime):
    await state.set_runtime_value("desk", "a:b", 1)
    assert await state.compare_and_set_runtime_value("desk", "a:b", RuntimeValue(True, 1), 2)
    assert await state.append_runtime_entry("desk", "log", "x") == 1
    assert await runtime.keys("") == ["uhlp:runtime:desk:a:b", "uhlp:runtime:desk:log"]
    assert await state.list_runtime_keys("desk") == ["a:b", "log"]
    assert await state.list_runtime_keys("desk", "l") == ["log"]
    assert await state.list_runtime_keys("desk", after="a:b") == ["log"]
    assert await state.list_runtime_keys("des") == []
    assert [one.value for one in await state.list_runtime_entries("desk", "log")] == ["x"]


async def test_the_framework_keeps_its_own_where_no_application_reaches(state, runtime):
    await state.framework.set("windows:desk", {"n": 1})
    await state.framework.append("log", 1, most=2)
    assert await runtime.keys("") == ["uhlp:framework:log", "uhlp:framework:windows:desk"]
    assert await state.framework.keys("windows:") == ["windows:desk"]
    assert (await state.framework.get("windows:desk")).value == {"n": 1}
    assert await state.framework.compare_and_set("windows:desk", RuntimeValue(True, {"n": 1}), 2)
    assert [one.value for one in await state.framework.entries("log")] == [1]
    await state.set_runtime_value("desk", "windows:desk", "mine")
    await state.delete_runtime_values("desk")
    assert (await state.framework.get("windows:desk")).value == 2
    assert await state.framework.delete("windows:desk")
    assert await state.framework.delete_prefix("") == 1


@pytest.mark.parametrize("app_id", ["", "a:b", "framework", "desk:", "../desk", "Desk"])
async def test_an_id_that_no_application_has_names_no_key(state, app_id):
    if app_id == "framework":  # an application may be called so: its keys are below uhlp:runtime all the same
        await state.set_runtime_value(app_id, "k", 1)
        assert await state.framework.keys() == []
        return
    with pytest.raises(ValidationFailed):
        await state.set_runtime_value(app_id, "k", 1)


@given(st.text(max_size=600))
def test_a_key_is_kept_whole_or_refused(key):
    async def attempt() -> None:
        runtime = SqliteRuntimeStore(":memory:")
        try:
            state = StateManager(definitions=DefinitionStore("unused"), runtime=runtime)
            try:
                await state.set_runtime_value("desk", key, 1)
            except ValidationFailed:
                assert not key.isprintable() or len(f"uhlp:runtime:desk:{key}".encode()) > 512
            else:
                assert await state.list_runtime_keys("desk") == [key]
                assert await runtime.keys("") == [f"uhlp:runtime:desk:{key}"]
        finally:
            await runtime.aclose()

    asyncio.run(attempt())


async def test_an_application_that_holds_its_number_of_keys_may_change_them_and_make_no_more(state):
    for n in range(5):
        await state.set_runtime_value("desk", f"k{n}", n)
    for refused in (
        state.set_runtime_value("desk", "k5", 1),
        state.increment_runtime_value("desk", "n"),
        state.append_runtime_entry("desk", "s", 1),
        state.compare_and_set_runtime_value("desk", "c", MISSING, 1),
    ):
        with pytest.raises(RuntimeQuotaExceeded) as caught:
            await refused
        assert (caught.value.status, caught.value.retryable) == (429, False)
    await state.set_runtime_value("desk", "k0", 7)
    assert await state.increment_runtime_value("desk", "k0") == 8
    await state.set_runtime_value("other", "k", 1)
    await state.delete_runtime_value("desk", "k1")
    await state.set_runtime_value("desk", "k5", 1)
    assert len(await state.list_runtime_keys("desk")) == 5


async def test_writes_that_make_no_keys_do_not_use_up_the_room(state):
    for n in range(40):
        await state.set_runtime_value("desk", "k", n)
    for n in range(4):
        await state.set_runtime_value("desk", f"more{n}", n)
    with pytest.raises(RuntimeQuotaExceeded):
        await state.set_runtime_value("desk", "one-too-many", 1)


async def test_values_entries_and_streams_have_a_size(state):
    with pytest.raises(PayloadTooLarge):
        await state.set_runtime_value("desk", "k", "x" * 31)
    with pytest.raises(PayloadTooLarge):
        await state.append_runtime_entry("desk", "s", "x" * 31)
    with pytest.raises(PayloadTooLarge):
        await state.compare_and_set_runtime_value("desk", "k", MISSING, "x" * 31)
    with pytest.raises(ValidationFailed):
        await state.append_runtime_entry("desk", "s", 1, most=4)
    await state.set_runtime_value("desk", "k", "x" * 30)
    for n in range(5):
        await state.append_runtime_entry("desk", "s", n)
    assert [one.value for one in await state.list_runtime_entries("desk", "s")] == [2, 3, 4]
