"""A misbehaving server for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.tools.gateway.gateway_parts import EVERY
from tests.unit.tools.gateway.odd_server import OddServer, odd_server


@pytest.fixture
async def odd() -> AsyncIterator[OddServer]:
    async with odd_server(*EVERY) as server:
        yield server
