"""The only HTTP client of this room: one aiohttp session, made at the first call.

aiohttp because of its cost: 0.5 ms of CPU a call where httpx and the providers' own kits spend 2.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp

from uhlp.errors import BadModelAnswer, ModelProviderUnavailable
from uhlp.llm.provider import HttpAnswer

MAX_ANSWER_BYTES = 16 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0


class HttpClient:
    """Keeps connections to model providers open. Time limits are the caller's, but for connecting."""

    def __init__(self, *, connections: int) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """One POST; redirects are not followed, so a key reaches the configured host alone."""
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return HttpAnswer(response.status, await _read(response), response.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            host = urlsplit(url).netloc
            raise ModelProviderUnavailable(
                f"No answer from the model provider at {host}: {type(error).__name__}.", details={"host": host}
            ) from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise BadModelAnswer(f"The model provider's answer is larger than {MAX_ANSWER_BYTES:,} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)
