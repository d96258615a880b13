"""The SafetyGovernor's statistics: standard library only, O(1) per event, state as JSON values (`to_dict`/`from_dict`).

Which tool answers which question:

    Is the handler wrong less often than epsilon? What is proven by now?   EvidenceAccount       evidence
    How many clean samples are missing?                                    .needed_more
    What would a sample of a fixed size show (reports)?                    n_required, clopper_pearson_upper   bounds
    How sure must attempt a be, so that trying again buys nothing?         delta_for_attempt     bounds
    Which classes of answers may it give?                                  ClassCounts           class_counts
    Is the candidate's arm of a canary worse (all tests in one)?           CanaryTests           canary_tests
      in failures? in latency? in cost?                                    ShareTest, LatencyShares, ExceedanceShare
      does routing keep the weight?                                        AssignmentCheck       assignment_check
      has this session, user or input been counted?                        FirstSights           first_sights
    Has a handler in service become worse?                                 Monitor (Cusum and fast rule)       monitor
    How many of its answers are audited?                                   audit_share, serve_and_check_share  schedules
    When may the component be compiled again? When is a failure forgiven?  recompile_allowed, failure_is_forgiven

An e-process is the money of a gambler who bets against a hypothesis under which the game is not in his favour; that it
ever reaches 1 / a has probability at most a (Ville), so one may look after every event and stop at any time.
`BettingProcess` (module betting) is that for means of losses; share tests and assignment check are it for shares.
"""

from uhlp.evolution.statistics.assignment_check import AssignmentCheck
from uhlp.evolution.statistics.betting import BettingProcess
from uhlp.evolution.statistics.bounds import clopper_pearson_upper, delta_for_attempt, n_required
from uhlp.evolution.statistics.canary_tests import Assigned, CanaryAlarm, CanaryTests, Outcome
from uhlp.evolution.statistics.class_counts import ClassCount, ClassCounts
from uhlp.evolution.statistics.evidence import PUBLISHED_BOUNDS, EvidenceAccount, Verdict
from uhlp.evolution.statistics.exceedance import ExceedanceShare, LatencyShares
from uhlp.evolution.statistics.first_sights import FirstSights
from uhlp.evolution.statistics.monitor import Alarm, Cusum, Monitor
from uhlp.evolution.statistics.schedules import (
    RecompileWait,
    audit_share,
    failure_is_forgiven,
    recompile_allowed,
    recompile_wait,
    serve_and_check_share,
)
from uhlp.evolution.statistics.share_test import ShareTest

__all__ = [
    "PUBLISHED_BOUNDS",
    "Alarm",
    "Assigned",
    "AssignmentCheck",
    "BettingProcess",
    "CanaryAlarm",
    "CanaryTests",
    "ClassCount",
    "ClassCounts",
    "Cusum",
    "EvidenceAccount",
    "ExceedanceShare",
    "FirstSights",
    "LatencyShares",
    "Monitor",
    "Outcome",
    "RecompileWait",
    "ShareTest",
    "Verdict",
    "audit_share",
    "clopper_pearson_upper",
    "delta_for_attempt",
    "failure_is_forgiven",
    "n_required",
    "recompile_allowed",
    "recompile_wait",
    "serve_and_check_share",
]
