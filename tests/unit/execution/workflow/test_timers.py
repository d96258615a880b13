import pytest

from uhlp.clock import FakeClock
from uhlp.errors import Unavailable
from uhlp.execution.workflow.timers import Timers


@pytest.fixture
def clock():
    return FakeClock()


async def test_what_is_due_is_done_in_its_order_and_what_was_cancelled_is_not(clock):
    timers, done = Timers(clock=clock), []
    timers.at(clock.now() + 2, lambda: done.append("second"))
    timers.at(clock.now() + 1, lambda: done.append("first"))
    timers.at(clock.now() + 1.5, lambda: done.append("cancelled")).cancel()
    timers.at(clock.now() + 9, lambda: done.append("later"))
    clock.advance(2)
    timers.fire_due()
    assert done == ["first", "second"]
    assert timers.until_next_s(60) == 7


async def test_what_was_cancelled_long_before_it_is_due_is_not_kept(clock):
    timers, done = Timers(clock=clock), []
    timers.at(clock.now() + 100_000, lambda: done.append("kept"))
    for _ in range(10_000):
        timers.at(clock.now() + 86_400, lambda: done.append("cancelled")).cancel()
    assert len(timers) < 100
    clock.advance(100_000)
    timers.fire_due()
    assert done == ["kept"]


async def test_what_could_not_be_done_is_due_still(clock):
    timers, done, failures = Timers(clock=clock), [], [Unavailable()]

    def act():
        if failures:
            raise failures.pop()
        done.append("first")

    timers.at(clock.now(), act)
    timers.at(clock.now(), lambda: done.append("second"))
    with pytest.raises(Unavailable):
        timers.fire_due()
    timers.fire_due()
    assert done == ["first", "second"]
