"""Run ONE implementation of a component. No rollout here: routing, shadow, replay, audit and evals all call it."""

from uhlp.execution.call import (
    ExecutionCall,
    ExecutionResult,
    FailureReason,
    HandlerImplementation,
    Implementation,
    PromptImplementation,
    Purpose,
)
from uhlp.execution.executor import Executor
from uhlp.execution.failures import may_be_its_own
from uhlp.execution.handler_policy import check_handler
from uhlp.execution.handler_tests import HandlerTests, TestFailure, TestReport
from uhlp.execution.second_try import run_with_second_try, was_cut_off
from uhlp.execution.tampering import count_tests, signs_of_tampering

__all__ = [
    "ExecutionCall",
    "ExecutionResult",
    "Executor",
    "FailureReason",
    "HandlerImplementation",
    "HandlerTests",
    "Implementation",
    "PromptImplementation",
    "Purpose",
    "TestFailure",
    "TestReport",
    "check_handler",
    "count_tests",
    "may_be_its_own",
    "run_with_second_try",
    "signs_of_tampering",
    "was_cut_off",
]
