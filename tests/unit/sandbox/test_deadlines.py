"""Many deadlines, one timer."""

import asyncio

import pytest

from uhlp.errors import DeadlineExceeded
from uhlp.sandbox.deadlines import Deadlines

SOON_S, LATER_S, NEVER_S = 0.01, 0.03, 3_600.0


class Calls:
    """Futures that nobody answers, each with its deadline."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadlines = Deadlines()

    def begin(self, within_s: float) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = self.loop.create_future()
        self.deadlines.watch(future, self.loop.time() + within_s)
        return future


async def ends(future: "asyncio.Future[None]") -> None:
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(future, 30)


@pytest.mark.parametrize("within_s", [(SOON_S, LATER_S), (LATER_S, SOON_S)])
async def test_each_call_ends_at_its_own_deadline_in_whatever_order_they_began(within_s: tuple[float, float]) -> None:
    calls = Calls()
    patient = calls.begin(NEVER_S)
    first, second = (calls.begin(one) for one in within_s)
    await ends(first)
    await ends(second)
    assert not patient.done()


async def test_a_call_that_began_after_another_was_answered_has_its_own_time() -> None:
    calls = Calls()
    answered = calls.begin(SOON_S)
    answered.set_result(None)
    calls.deadlines.forget(answered)
    patient, next_one = calls.begin(NEVER_S), calls.begin(LATER_S)
    await ends(next_one)
    assert not patient.done()
    assert answered.result() is None


async def test_a_deadline_is_kept_when_all_before_it_are_over() -> None:
    calls = Calls()
    await ends(calls.begin(SOON_S))
    await ends(calls.begin(SOON_S))


async def test_an_answer_in_the_moment_of_its_deadline_stands() -> None:
    calls = Calls()
    answered, other = calls.begin(SOON_S), calls.begin(LATER_S)
    answered.set_result(None)  # and nobody has forgotten it yet
    await ends(other)
    assert answered.result() is None
