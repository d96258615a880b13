"""Which ended workers the kernel has killed for want of memory, where the host wanted their end at the same moment."""

import signal

from uhlp.runner.usage import OomKills

KILLED, EXITED = int(signal.SIGKILL), 1 << 8


class Counter:
    def __init__(self) -> None:
        self.number = 7

    def __call__(self) -> int:
        return self.number


def test_each_rise_explains_one_killed_worker() -> None:
    counter = Counter()
    kills = OomKills(counter)
    kills.look(most=3)
    assert not kills.explain(KILLED)
    counter.number += 2
    kills.look(most=3)
    assert [kills.explain(status) for status in (EXITED, KILLED, KILLED, KILLED)] == [False, True, True, False]


def test_a_worker_that_is_reaped_after_the_rise_was_seen_is_explained_by_it() -> None:
    counter = Counter()
    kills = OomKills(counter)
    counter.number += 2
    kills.look(most=2)
    assert kills.explain(KILLED)
    kills.look(most=1)
    assert kills.explain(KILLED)
    assert not kills.explain(KILLED)


def test_a_rise_explains_no_more_workers_than_there_are() -> None:
    counter = Counter()
    kills = OomKills(counter)
    counter.number += 50
    kills.look(most=0)
    kills.look(most=2)
    assert not kills.explain(KILLED)
    counter.number = 3  # another control group's: it never falls
    kills.look(most=2)
    assert not kills.explain(KILLED)
