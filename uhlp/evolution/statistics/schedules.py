"""How often to audit, and when a component may be compiled again."""

from dataclasses import dataclass
from hashlib import sha256

_LEAST_AUDIT_SHARE = 0.01
_LEAST_AUDITS_PER_DAY = 20
_AUDITS_PER_ALLOWED_WRONG_ANSWER = 8
_JITTER = 0.1
_DAY_S = 86_400.0


def audit_share(max_wrong_answers: int, answers_per_day: float) -> float:
    """Share of a promoted handler's answers to audit: max(1 %, min(1, 8 / W), 20 a day), at most 1.

    W = `max_wrong_answers`; `answers_per_day` = what the handler answers itself at the present rate. With little
    traffic every answer is audited; no traffic (or an unknown rate of 0) means 1.
    """
    if answers_per_day <= 0:
        return 1.0
    by_tolerance = min(1.0, _AUDITS_PER_ALLOWED_WRONG_ANSWER / max_wrong_answers)
    return min(1.0, max(_LEAST_AUDIT_SHARE, by_tolerance, _LEAST_AUDITS_PER_DAY / answers_per_day))


def serve_and_check_share(proven: float | None, floor: float) -> float:
    """Audit share under `serve-and-check`: 100 %, 50 % once < 5 % is proven, 20 % at 2 %, `floor` at 1 %.

    `proven` is the smallest proven bound (None: none yet), `floor` is `audit_share(...)`, below which it never falls.
    """
    if proven is None or proven > 0.05:
        return 1.0
    if proven > 0.02:
        return max(0.5, floor)
    return max(0.2, floor) if proven > 0.01 else floor


@dataclass(frozen=True, slots=True)
class RecompileWait:
    """What must pass after the last failure: seconds and new samples, both."""

    seconds: float
    samples: int


def recompile_wait(
    failures: int,
    *,
    key: str,
    t0_s: float = 600.0,
    t_max_s: float = 86_400.0,
    n0: int = 200,
    n_max: int = 20_000,
    f_max: int = 5,
) -> RecompileWait | None:
    """The wait after f failures: min(t_max, t0 2^(f-1)) +- 10 % seconds and min(n_max, n0 2^(f-1)) samples.

    None at f >= f_max: no clock allows it, only a changed specification, model or coder, or a person.
    The jitter is a fixed hash of `key` (application, component and specification) and f: were it drawn anew at each
    look, a loop that looks often would always get the shortest wait.
    """
    if failures >= f_max:
        return None
    if failures <= 0:
        return RecompileWait(0.0, 0)
    unit = int.from_bytes(sha256(f"{key}\n{failures}".encode()).digest()[:8]) / 2**64
    doubled = 2 ** (failures - 1)
    return RecompileWait(min(t_max_s, t0_s * doubled) * (1 + _JITTER * (2 * unit - 1)), min(n_max, n0 * doubled))


def recompile_allowed(
    failures: int,
    seconds_since: float,
    new_samples: int,
    *,
    key: str,
    t0_s: float = 600.0,
    t_max_s: float = 86_400.0,
    n0: int = 200,
    n_max: int = 20_000,
    f_max: int = 5,
) -> bool:
    """Whether both clocks of `recompile_wait` have run since the last failure."""
    wait = recompile_wait(failures, key=key, t0_s=t0_s, t_max_s=t_max_s, n0=n0, n_max=n_max, f_max=f_max)
    return wait is not None and seconds_since >= wait.seconds and new_samples >= wait.samples


def failure_is_forgiven(clean_s: float, executions: int, *, days: float = 7.0, least_executions: int = 1000) -> bool:
    """Whether one failure is taken off f: 7 days without an alarm and 1,000 executions, both since the last failure or
    the last time one was forgiven.
    """
    return clean_s >= days * _DAY_S and executions >= least_executions
