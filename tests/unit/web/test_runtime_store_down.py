"""What a Redis that is down stops, and what it does not."""

import asyncio

from tests.contracts.test_runtime_store import redis_server, until_up
from tests.unit.web.test_application_life import DESK
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from web.stores import stored_services

__all__ = ["redis_server"]


async def test_routes_answer_while_redis_is_down_and_runtime_values_say_503_until_it_is_back(
    tmp_path, redis_server, client_of, admin
):
    runtime = RedisRuntimeStore(redis_server.url, timeout_s=1.0)
    await until_up(runtime)
    async with stored_services(tmp_path, runtime=runtime) as services:
        client = await client_of(services)
        client.headers.update(admin)
        assert (await client.post("/admin/v1/apps", json=DESK)).status_code == 201
        value = "/admin/v1/apps/desk/runtime/k"
        assert (await client.put(value, json={"value": 1})).status_code == 200
        redis_server.stop()
        async with asyncio.timeout(20):
            for refused in (
                await client.put(value, json={"value": 2}),
                await client.get(value),
                await client.post(f"{value}/increment", json={}),
                await client.get("/admin/v1/apps/desk/runtime"),
            ):
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "RUNTIME_STORE_UNAVAILABLE")
                assert refused.headers["retry-after"] == "1"
            assert (await client.post("/apps/desk/a", json={"text": "hello"})).json() == {"text": "hello"}
            changed = {"updateMask": ["displayName"], "definition": {"displayName": "Desk"}}
            assert (await client.patch("/admin/v1/apps/desk", json=changed)).status_code == 200
        redis_server.start()
        await until_up(runtime)
        assert (await client.get(value)).json()["value"] == 1
        assert (await client.put(value, json={"value": 2})).status_code == 200
