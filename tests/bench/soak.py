"""An hour of everything at once, or fewer minutes: `python -m tests.bench.soak [minutes]`.

Fifty requests a second of everything that the server does, with a promotion and a rollback every minute. It prints what
the server holds over time, the slope of its memory, and p99 of each kind of request at first and at last;
`tests/e2e/test_everything_at_once.py` asserts that nothing is left behind. `UHLP_SANDBOX__DRIVER=docker` runs the
sandboxes there.
"""

import sys
import tempfile
from pathlib import Path

from tests.e2e.soak.report import report
from tests.e2e.soak.soak import Soak, soak


def run(minutes: float = 60.0) -> Soak:
    with tempfile.TemporaryDirectory(prefix="uhlp-soak-") as folder:
        found = soak(Path(folder), minutes * 60.0)
    report(found)
    for wrong, times in found.wrong.most_common():
        print(f"WRONG, {times} times: {wrong}")
    return found


if __name__ == "__main__":
    sys.exit(1 if run(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0).wrong else 0)
