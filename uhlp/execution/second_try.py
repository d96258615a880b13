"""A second try, for runs that nobody waits for."""

from uhlp.execution.call import ExecutionCall, ExecutionResult
from uhlp.execution.executor import Executor

_CUT_OFF = frozenset({"timeout", "oom", "sandbox"})


def was_cut_off(result: ExecutionResult) -> bool:
    """Whether it ended by time, for memory, or with its sandbox: by what may be the machine's doing."""
    return result.failure in _CUT_OFF


async def run_with_second_try(executor: Executor, call: ExecutionCall) -> ExecutionResult:
    """Run `call`; once more where it was cut off.

    That may be the doing of a machine under load or of an engine that restarts. What the code is at fault for happens
    again: what it does depends on its input alone.
    """
    result = await executor.run(call)
    if was_cut_off(result) and not result.is_refusal:
        result = await executor.run(call)
    return result
