"""POST /v1/metrics: who may send what, bodies of every kind, and answers as OTLP/HTTP has them."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from tests.otlp_requests import as_json, as_protobuf, gauge, point, request
from uhlp.errors import BadInput, PayloadTooLarge
from uhlp.web.body import LARGE_BYTES
from uhlp.web.config import WebSettings
from uhlp.web.inflate import gunzip, inflated
from web.fakes import ADMIN_TOKEN, KeyIdentity, SnapshotsOnly, application, component, services

JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
DEPTH = request(gauge("depth", point(3.0)))

ClientOf = Callable[[Any], Awaitable[httpx.AsyncClient]]


async def send(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/v1/metrics", content=body, headers={**JSON, **named})


async def test_json_and_protobuf_are_taken_and_answered_in_kind(client_of: ClientOf) -> None:
    client = await client_of(services())
    for body, headers, empty in ((as_json(DEPTH), JSON, b"{}"), (as_protobuf(DEPTH), PROTOBUF, b"")):
        answer = await client.post("/v1/metrics", content=body, headers=headers)
        assert (answer.status_code, answer.content) == (200, empty)
        assert answer.headers["content-type"] == headers["Content-Type"]
    assert 'depth{appId="shop"} 3.0' in (await client.get("/metrics")).text


async def test_points_that_cannot_be_taken_are_told_in_a_partial_success(client_of: ClientOf) -> None:
    client = await client_of(services())
    value = request(gauge("depth", point(1.0), point(2.0, of={})))
    told = (await send(client, as_json(value))).json()["partialSuccess"]
    assert (told["rejectedDataPoints"], "appId is missing" in told["errorMessage"]) == ("1", True)
    answer = await client.post("/v1/metrics", content=as_protobuf(value), headers=PROTOBUF)
    assert answer.status_code == 200
    assert ExportMetricsServiceResponse.FromString(answer.content).partial_success.rejected_data_points == 1


async def test_gzip_is_taken(client_of: ClientOf) -> None:
    client = await client_of(services())
    answer = await send(client, gzip.compress(as_json(DEPTH)), content_encoding="gzip")
    assert (answer.status_code, answer.json()) == (200, {})
    assert 'depth{appId="shop"} 3.0' in (await client.get("/metrics")).text


@pytest.mark.parametrize("size", [65 * 1024, 100 << 20])
async def test_a_body_that_inflates_beyond_the_limit_is_413(client_of: ClientOf, size: int) -> None:
    client = await client_of(services())  # whose limit is 64 KiB
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.compress(
        bytes(size % (1 << 20))
    )
    answer = await send(client, (bomb + packer.flush())[: 64 * 1024], content_encoding="gzip")
    assert answer.status_code == 413
    assert "once it is inflated" in answer.json()["message"]


BROKEN = {
    "cut short": gzip.compress(as_json(DEPTH))[:-9],
    "no gzip": b"hello",
    "changed": gzip.compress(as_json(DEPTH))[:-8] + b"\0" * 8,
    "followed by something": gzip.compress(as_json(DEPTH)) + b"more",
    "many members": gzip.compress(b"") * 100,
    "nothing": b"",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
async def test_a_body_that_is_no_gzip_is_400(client_of: ClientOf, body: bytes) -> None:
    answer = await send(await client_of(services()), body, content_encoding="gzip")
    assert answer.status_code == 400
    assert answer.json()["code"] == 3


async def test_inflating_gives_what_was_packed_in_one_member_or_several() -> None:
    text = bytes(range(256)) * 8_000
    packed = gzip.compress(text[:1000]) + gzip.compress(text[1000:])
    assert await inflated(packed, b"gzip", limit_bytes=len(text)) == text
    assert len(text) > LARGE_BYTES
    with pytest.raises(PayloadTooLarge):
        gunzip(packed, limit_bytes=len(text) - 1)
    with pytest.raises(BadInput, match="neither gzip"):
        await inflated(packed, b"br", limit_bytes=1 << 20)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{", 400),
        (PROTOBUF, b"\xff\xff", 400),
        ({"Content-Type": "text/plain"}, b"{}", 400),
        ({"Content-Encoding": "zstd"}, b"{}", 400),
        ({}, b"{" + b" " * 70_000, 413),
    ],
    ids=["malformed JSON", "malformed protobuf", "other type", "other encoding", "large"],
)
async def test_what_is_no_request_is_refused_with_a_status(
    client_of: ClientOf, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = await (await client_of(services())).post("/v1/metrics", content=body, headers={**JSON, **headers})
    assert answer.status_code == status
    if headers == PROTOBUF:
        said = Status.FromString(answer.content)
        assert (said.code, answer.headers["content-type"]) == (3, "application/x-protobuf")
    else:
        said = Status(**answer.json())
    assert said.message


async def test_only_post_is_answered(client_of: ClientOf) -> None:
    answer = await (await client_of(services())).get("/v1/metrics")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def shops(**more: Any) -> Any:
    """Services with the applications shop and desk, and a key of shop's."""
    registry = SnapshotsOnly(
        {name: application(name, component("echo", "/echo", "POST")) for name in ("shop", "desk")},
        keys={"shops-key": KeyIdentity("shop")},
    )
    return services(registry=registry, **more)


async def test_an_applications_key_writes_its_own_series_and_no_other(client_of: ClientOf) -> None:
    client = await client_of(shops())
    value = request(gauge("depth", point(1.0, of={}), point(2.0, of={"appId": "desk"})))
    told = (await send(client, as_json(value), x_api_key="shops-key")).json()["partialSuccess"]
    assert told == {"rejectedDataPoints": "1", "errorMessage": "The label appId is the writer's own, 'shop'."}
    shown = (await client.get("/metrics")).text
    assert 'depth{appId="shop"} 1.0' in shown
    assert "desk" not in shown


async def test_in_production_a_key_or_the_admin_token_is_asked_for(client_of: ClientOf) -> None:
    client = await client_of(shops(deployment_mode="production"))
    for headers, status in (({}, 401), ({"x_api_key": "wrong"}, 401), ({"x_api_key": "shops-key"}, 200), (ADMIN, 200)):
        assert (await send(client, as_json(DEPTH), **headers)).status_code == status


async def test_who_keeps_guessing_keys_is_told_when_to_come_back(client_of: ClientOf) -> None:
    client = await client_of(shops())
    answers = [await send(client, as_json(DEPTH), x_api_key=f"wrong-{number}") for number in range(8)]
    assert (answers[-1].status_code, int(answers[-1].headers["retry-after"]) > 0) == (429, True)
    assert answers[-1].json()["code"] == 8


async def test_too_many_at_once_are_told_to_come_back(client_of: ClientOf) -> None:
    client = await client_of(services(settings=WebSettings()))
    large = gzip.compress(as_json(DEPTH) + b" " * (9 << 20))
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(send(client, large, content_encoding="gzip") for _ in range(50)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) <= 50 - 8
    for answer in refused:
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (503, "1", 14)
    assert (await send(client, large, content_encoding="gzip")).status_code == 200


async def test_bodies_that_do_not_come_stop_nobody(client_of: ClientOf) -> None:
    client = await client_of(services(settings=WebSettings(body_timeout_s=30)))
    all_begun, never, begun = asyncio.Event(), asyncio.Event(), 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal begun
        begun += 1
        if begun == 100:
            all_begun.set()
        yield b"{"
        await never.wait()

    async def slowly() -> httpx.Response:
        return await client.post("/v1/metrics", content=body(), headers={**JSON, "Transfer-Encoding": "chunked"})

    slow = [asyncio.create_task(slowly()) for _ in range(100)]
    async with asyncio.timeout(30):
        await all_begun.wait()
        assert (await send(client, as_json(DEPTH))).status_code == 200
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_large_body_is_taken_whole(client_of: ClientOf) -> None:
    client = await client_of(services(settings=WebSettings()))
    points = [point(float(number), of={"appId": "shop", "n": number}) for number in range(1_000)]
    value = request(*(gauge(f"depth_{at}", *points) for at in range(3)))
    body = as_json(value)
    assert len(body) > LARGE_BYTES
    answer = await send(client, gzip.compress(body), content_encoding="gzip")
    assert (answer.status_code, answer.json()) == (200, {})
    shown = (await client.get("/metrics")).text
    assert sum(line.startswith("depth_") for line in shown.splitlines()) == 3_000
    assert json.loads(body) == value
