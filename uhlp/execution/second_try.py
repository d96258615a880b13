"""A second try, for runs that nobody waits for."""

from uhlp.execution.call import ExecutionCall, ExecutionResult
from uhlp.execution.executor import Executor

_CUT_OFF = frozenset({"timeout", "oom", "sandbox"})


async def run_with_second_try(executor: Executor, call: ExecutionCall) -> ExecutionResult:
    """Run `call`; once more where it was cut off, by time, for memory, or with its sandbox.

    That may be the doing of a machine under load or of an engine that restarts. What the code is at fault for happens
    again: what it does depends on its input alone.
    """
    result = await executor.run(call)
    if result.failure in _CUT_OFF and not result.is_refusal:
        result = await executor.run(call)
    return result
