"""Sections of a page share what they read at about the same time."""

import asyncio

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import NotFound
from uhlp.web.panel.shared_read import FRESH_S, SharedRead


async def test_sections_that_are_drawn_together_read_once_and_later_again() -> None:
    clock, asked = FakeClock(), []

    async def read() -> int:
        asked.append(clock.monotonic())
        return len(asked)

    shared = SharedRead(read, clock=clock)
    assert await asyncio.gather(shared(), shared(), shared()) == [1, 1, 1]
    clock.advance(2 * FRESH_S)
    assert await shared() == 2


async def test_a_failure_is_told_and_not_kept() -> None:
    answers: list[object] = [NotFound("gone"), "back"]

    async def read() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    shared = SharedRead(read, clock=FakeClock())
    with pytest.raises(NotFound):
        await shared()
    assert await shared() == "back"
