"""The SafetyGovernor's statistics: standard library only, O(1) per event, state as JSON values.

betting     e-processes, the machinery         monitor     CUSUM and fast rule for a handler in service
evidence    gate and proven bounds             schedules   audit shares, waits before compiling again
bounds      fixed-sample figures, attempt correction
"""

from uhlp.evolution.statistics.betting import BettingProcess
from uhlp.evolution.statistics.bounds import clopper_pearson_upper, delta_for_attempt, n_required
from uhlp.evolution.statistics.evidence import PUBLISHED_BOUNDS, EvidenceAccount, Verdict
from uhlp.evolution.statistics.monitor import Alarm, Cusum, Monitor
from uhlp.evolution.statistics.schedules import (
    RecompileWait,
    audit_share,
    recompile_allowed,
    recompile_wait,
    serve_and_check_share,
)

__all__ = [
    "PUBLISHED_BOUNDS",
    "Alarm",
    "BettingProcess",
    "Cusum",
    "EvidenceAccount",
    "Monitor",
    "RecompileWait",
    "Verdict",
    "audit_share",
    "clopper_pearson_upper",
    "delta_for_attempt",
    "n_required",
    "recompile_allowed",
    "recompile_wait",
    "serve_and_check_share",
]
