"""What expressions of one application may take of the process."""

from uhlp.clock import FakeClock
from uhlp.expressions.expression_share import BURST_S, ExpressionShare


def test_an_application_may_take_its_burst_and_then_its_share() -> None:
    clock = FakeClock()
    share = ExpressionShare(clock=clock, share=0.25)
    share.take("shop", BURST_S)
    assert share.owed_s("shop") == 0
    share.take("shop", 0.5)
    assert share.owed_s("shop") == 2.0
    assert share.owed_s("desk") == 0, "what one has taken nobody else owes"
    clock.advance(1)
    assert share.owed_s("shop") == 1.0
    clock.advance(1)
    assert share.owed_s("shop") == 0


def test_over_a_minute_nobody_who_waits_takes_more_than_the_share() -> None:
    clock = FakeClock()
    share, taken_s, began = ExpressionShare(clock=clock, share=0.25), 0.0, clock.now()
    while clock.now() < began + 60:
        clock.advance(share.owed_s("shop"))
        clock.advance(0.15)
        share.take("shop", 0.15)
        taken_s += 0.15
    assert taken_s < (clock.now() - began) * 0.25 + BURST_S + 0.16


def test_a_clock_that_is_set_back_makes_nobody_wait_longer() -> None:
    clock = FakeClock()
    share = ExpressionShare(clock=clock)
    share.take("shop", 2.0)
    before = share.owed_s("shop")
    clock.advance(-3_600)
    assert share.owed_s("shop") == before
