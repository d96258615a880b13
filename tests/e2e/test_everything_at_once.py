"""Ten minutes of everything at once, fifty requests a second: what the server holds afterwards is what it held before.

UHLP_SOAK_S says how many seconds, where ten minutes are too long or too short, and UHLP_SANDBOX__DRIVER what runs the
sandboxes. Times are printed, not asserted; `python -m tests.bench.soak` prints the same without a test.
"""

import os
import statistics
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.soak.held import COUNTED
from tests.e2e.soak.report import report
from tests.e2e.soak.soak import soak

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("UHLP_SOAK_S", "600"))
MOST_MORE_MIB = 6.0
"""What the last third may hold more than the second; the first is for warming up. A leak of a kilobyte a request would
be ten times that in ten minutes."""
MOST_MORE = {"descriptors": 24, "threads": 4, "tasks": 8, "processes": 0, "sandboxes": 0}
"""At rest, when sandboxes have ended for want of work; a connection to a model may be open or not. What each release,
each application or each run left behind would be many more."""


def test_ten_minutes_of_everything_with_a_promotion_and_a_rollback_a_minute_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    found = soak(tmp_path, SECONDS)
    report(found)
    assert found.wrong == Counter()
    assert found.releases
    assert found.messages == {}
    assert 'uhlp_requests_in_flight{appId="desk",componentId="sort"} 0.0' in found.shown
    assert "uhlp_workflow_runs_open 0.0" in found.shown
    assert "guest-" not in found.shown
    before, after = found.at_rest
    more = {name: after.counts[name] - before.counts[name] for name in COUNTED}
    assert {name: more[name] for name in COUNTED if more[name] > MOST_MORE[name]} == {}
    half = len(found.settled) // 2
    middle, last = (
        statistics.median(one.memory_mib for one in part) for part in (found.settled[:half], found.settled[half:])
    )
    assert last - middle <= MOST_MORE_MIB
