"""A model provider that takes no time, or BENCH_PROVIDER_S seconds: the same chat completion for every POST."""

import asyncio
import json
import os
from typing import Any

_COMPLETION = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": "bench",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": '{"queue": "shipping"}'}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 60, "completion_tokens": 8, "total_tokens": 68},
    }
).encode()
_TAKES_S = float(os.environ.get("BENCH_PROVIDER_S", "0"))
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_COMPLETION))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """ASGI."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    if _TAKES_S:
        await asyncio.sleep(_TAKES_S)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _COMPLETION})
