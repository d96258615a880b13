"""The cache is exact, bounded in size and age, and each application's own."""

import pytest

from uhlp.clock import FakeClock
from uhlp.llm import AnswerCache, Generation
from uhlp.llm.answer_cache import question_key
from uhlp.models.definition import ModelCache

POLICY = ModelCache(enabled=True, max_age_s=60, max_entries=3)
ROOMY = ModelCache(enabled=True, max_entries=1000)


def answer(text: str) -> Generation:
    return Generation(text, "m", "main", 11, 7, 0.5, 250.0)


def key(number: int) -> bytes:
    return question_key({"messages": [number]})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(clock: FakeClock) -> AnswerCache:
    return AnswerCache(clock=clock, most_bytes=100_000)


def test_an_answer_is_given_again_and_took_nothing(cache: AnswerCache) -> None:
    cache.keep("shop", key(1), answer("yes"), POLICY)
    found = cache.get("shop", key(1), POLICY)
    assert found is not None
    assert (found.text, found.model) == ("yes", "m")
    assert (found.tokens_in, found.tokens_out, found.cost_usd, found.latency_ms) == (0, 0, 0.0, 0.0)


def test_another_question_or_another_application_finds_nothing(cache: AnswerCache) -> None:
    cache.keep("shop", key(1), answer("yes"), POLICY)
    assert cache.get("shop", key(2), POLICY) is None
    assert cache.get("desk", key(1), POLICY) is None


def test_an_answer_grows_old_by_the_policy_of_now(cache: AnswerCache, clock: FakeClock) -> None:
    cache.keep("shop", key(1), answer("yes"), POLICY)
    clock.advance(59)
    assert cache.get("shop", key(1), POLICY)
    assert cache.get("shop", key(1), POLICY.model_copy(update={"max_age_s": 30})) is None
    cache.keep("shop", key(1), answer("yes"), POLICY)
    clock.advance(60)
    assert cache.get("shop", key(1), POLICY) is None
    assert cache.size_bytes == 0


def test_what_was_not_used_for_longest_goes_first(cache: AnswerCache) -> None:
    for number in (1, 2, 3):
        cache.keep("shop", key(number), answer("yes"), POLICY)
    cache.get("shop", key(1), POLICY)
    cache.keep("shop", key(4), answer("yes"), POLICY)
    assert [bool(cache.get("shop", key(number), POLICY)) for number in (1, 2, 3, 4)] == [True, False, True, True]


def test_one_application_does_not_push_out_anothers(cache: AnswerCache) -> None:
    cache.keep("small", key(0), answer("mine"), ROOMY)
    for number in range(500):
        cache.keep("large", key(number), answer("x" * 1000), ROOMY)
    assert cache.get("small", key(0), ROOMY)
    assert cache.size_bytes <= 100_000
    cache.forget("large")
    assert cache.size_bytes < 1000


def test_an_answer_too_large_for_all_is_not_kept_and_replacing_counts_once(cache: AnswerCache) -> None:
    cache.keep("shop", key(1), answer("x" * 200_000), ROOMY)
    assert (cache.get("shop", key(1), ROOMY), cache.size_bytes) == (None, 0)
    for _ in range(5):
        cache.keep("shop", key(1), answer("x"), ROOMY)
    assert cache.size_bytes < 1000


def test_equal_questions_have_one_key_whatever_the_order_of_their_names() -> None:
    assert question_key({"a": 1, "b": [{"x": 1, "y": 2}]}) == question_key({"b": [{"y": 2, "x": 1.0}], "a": 1})
    assert question_key({"a": 1}) != question_key({"a": 2})
