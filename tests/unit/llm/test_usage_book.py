"""What models took and what was served, counted by day."""

from uhlp.clock import FakeClock
from uhlp.llm.usage import DAY_S, DEOPTIMISED, SERVED_BY_HANDLER, UsageBook, Use, UseKey, date_of


def call(book: UsageBook, purpose: str = "serve", app_id: str = "shop", *, usd: float | None = 0.25) -> None:
    book.called(app_id, "parse", purpose, tokens_in=100, tokens_out=20, usd=usd, seconds=0.5)


def serve(book: UsageBook, kind: str, *, ok: bool = True) -> None:
    book.served("shop", "parse", kind, candidate_id="c-1", ok=ok, tokens_in=1, tokens_out=2, usd=0.1, seconds=0.2)


def kept(book: UsageBook) -> dict[UseKey, Use]:
    return dict(book.changed())


def test_calls_add_up_by_purpose_and_application() -> None:
    book = UsageBook(clock=FakeClock())
    for purpose in ("serve", "serve", "coder", "audit"):
        call(book, purpose)
    call(book, "judge", "other")
    assert book.of_application("shop", evolution=False).calls == 2
    assert book.of_application("shop", evolution=True) == Use(2, 0, 0, 200, 40, 0.5, 0, 0, 1.0)
    assert book.of_evolution().calls == 3
    assert book.of_component("shop", "parse", "audit").calls == 1


def test_a_call_of_unknown_price_is_counted_apart() -> None:
    book = UsageBook(clock=FakeClock())
    call(book, usd=None)
    call(book)
    use = book.of_application("shop", evolution=False)
    assert (use.usd, use.unpriced, use.unpriced_tokens, use.tokens) == (0.25, 1, 120, 240)


def test_served_requests_are_no_model_calls() -> None:
    book = UsageBook(clock=FakeClock())
    serve(book, SERVED_BY_HANDLER)
    serve(book, SERVED_BY_HANDLER, ok=False)
    serve(book, DEOPTIMISED)
    assert book.of_application("shop", evolution=False) == Use()
    rows = {key.kind: use for key, use in book.changed()}
    assert (rows[SERVED_BY_HANDLER].calls, rows[SERVED_BY_HANDLER].failed, rows[DEOPTIMISED].calls) == (2, 1, 1)


def test_midnight_begins_a_new_day_and_loses_nothing() -> None:
    clock = FakeClock()
    book = UsageBook(clock=clock)
    call(book)
    yesterday = book.day
    clock.advance(DAY_S)
    assert book.of_application("shop", evolution=False) == Use()
    call(book)
    rows = kept(book)
    assert {key.day: use.calls for key, use in rows.items()} == {yesterday: 1, yesterday + 1: 1}


def test_a_clock_that_goes_back_does_not_open_yesterday_again() -> None:
    clock = FakeClock()
    book = UsageBook(clock=clock)
    clock.advance(DAY_S)
    call(book)
    clock.advance(-DAY_S)
    call(book)
    assert [use.calls for use in kept(book).values()] == [2]


def test_what_was_kept_today_goes_on_after_a_restart_and_yesterday_does_not() -> None:
    clock = FakeClock()
    book = UsageBook(clock=clock)
    call(book, "coder")
    rows = kept(book)
    restarted = UsageBook(clock=clock)
    restarted.restore(rows)
    call(restarted, "coder")
    assert restarted.of_evolution().calls == 2
    assert [use.calls for use in kept(restarted).values()] == [2], "whole, so that it may be kept twice"
    clock.advance(DAY_S)
    tomorrow = UsageBook(clock=clock)
    tomorrow.restore(rows)
    assert tomorrow.of_evolution() == Use()


def test_what_could_not_be_kept_is_given_again_with_what_came_since() -> None:
    clock = FakeClock()
    book = UsageBook(clock=clock)
    call(book)
    book.give_back(book.changed())
    call(book)
    assert [use.calls for use in kept(book).values()] == [2]
    assert book.changed() == []
    call(book)
    rows = book.changed()
    clock.advance(DAY_S)
    assert book.of_evolution().calls == 0
    book.give_back(rows)
    assert [use.calls for use in kept(book).values()] == [3], "also over midnight"


def test_a_day_has_a_date() -> None:
    assert date_of(0) == "1970-01-01"
    assert date_of(20_254) == "2025-06-15"
