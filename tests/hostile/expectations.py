"""What becomes of each hostile program: what its request gets, call by call, and whether its process may go on."""

from dataclasses import dataclass, field
from typing import Any

OUT_OF_MEMORY, DIED = "SANDBOX_OUT_OF_MEMORY", "SANDBOX_DIED"
FAILED, INVALID, TOO_LATE = "HANDLER_FAILED", "OUTPUT_INVALID", "DEADLINE_EXCEEDED"
SHORT_S = 0.4


@dataclass(frozen=True, slots=True)
class Answers:
    """The call is answered with this data."""

    data: Any


@dataclass(frozen=True, slots=True)
class Reports:
    """The tests end with a report that says these numbers, true or not."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Fails:
    """The call is answered with an error of one of these codes, or ends with it."""

    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """`outcomes`: one for each call, made one after another. `is_replaced`: the worker of the last call ends.

    `is_tests`: the program is a test file, beside a good handler.
    """

    outcomes: tuple[Answers | Reports | Fails, ...]
    is_replaced: bool = True
    timeout_s: float = 10.0
    inputs: tuple[dict[str, Any], ...] = field(default=({},))
    is_tests: bool = False


def answers(*data: Any, **more: Any) -> Expected:
    return Expected(tuple(map(Answers, data)), **more)


def fails(*codes: str, **more: Any) -> Expected:
    return Expected((Fails(codes),), **more)


def reports(**counts: int) -> Expected:
    return Expected((Reports(counts),), is_tests=True)


def hangs() -> Expected:
    return fails(TOO_LATE, timeout_s=SHORT_S)


NOTHING: list[Any] = []
"""What programs answer that look for ways out and find none."""

EXPECTED = {
    # processes and threads
    "fork_bomb": fails(FAILED),
    "double_fork_daemon": answers(NOTHING),
    "start_a_program": answers(NOTHING),
    "thread_bomb": fails(FAILED, OUT_OF_MEMORY),
    "kill_everybody": answers(NOTHING),
    "signal_handlers_and_alarm": answers("done"),
    "limits_and_priorities": answers(NOTHING),
    # memory
    "memory_piece_by_piece": fails(OUT_OF_MEMORY),
    "memory_at_once": fails(OUT_OF_MEMORY),
    "memory_by_mmap": answers(True),
    "memory_in_objects": fails(OUT_OF_MEMORY, TOO_LATE, timeout_s=2.0),
    # time
    "loop_in_python": hangs(),
    "loop_that_swallows_everything": hangs(),
    "loop_in_c": hangs(),
    "sum_in_c": hangs(),
    "sleep_with_the_interpreter_locked": hangs(),
    "hang_between_calls": Expected((Answers("behaves"), Fails((TOO_LATE,))), inputs=({}, {}), timeout_s=SHORT_S),
    # output and results
    "flood_stdout": answers("done", is_replaced=False),
    "flood_stderr_with_warnings": answers("done"),
    "flood_raw_descriptors": answers("done"),
    "flood_log_frames": fails(DIED),
    "flood_tool_calls": fails(DIED),
    "huge_result": fails(INVALID, is_replaced=False),
    "exploding_result": fails(INVALID, is_replaced=False),
    "deep_result": fails(INVALID, is_replaced=False),
    "deep_result_within_json": fails(INVALID, is_replaced=False),
    "cyclic_result": fails(INVALID, is_replaced=False),
    "result_of_nan": fails(INVALID, is_replaced=False),
    "result_of_odd_keys": fails(INVALID, is_replaced=False),
    "result_of_lone_surrogates": fails(INVALID, is_replaced=False),
    "generator_result": fails(INVALID, is_replaced=False),
    "coroutine_result": fails(INVALID, is_replaced=False),
    "result_of_hostile_objects": fails(INVALID),
    "hostile_exception": fails(FAILED),
    "endless_exception_text": fails(FAILED, OUT_OF_MEMORY, is_replaced=False),
    # ends of the process
    "exit_at_once": fails(DIED),
    "polite_exit": fails(FAILED),
    "abort": fails(DIED),
    "segmentation_fault": fails(DIED),
    "deep_recursion": fails(FAILED, is_replaced=False),
    "deep_recursion_in_c": fails(DIED),
    "deep_source": fails(FAILED, OUT_OF_MEMORY),
    "garbage_that_fights_back": answers("done"),
    "exit_functions": answers("done"),
    # secrets and others
    "read_other_processes": answers(NOTHING),
    "read_secrets": answers(NOTHING),
    "read_other_applications": answers(NOTHING),
    "import_the_framework": answers(NOTHING),
    "write_the_runners_code": answers(NOTHING),
    # network and kernel
    "reach_the_network": answers(NOTHING),
    "reach_unix_sockets": answers(NOTHING),
    "rare_socket_families": answers(NOTHING),
    "rare_parts_of_the_kernel": answers(NOTHING),
    "regain_privileges": answers(NOTHING),
    # the runner and its channel
    "patch_the_runner": fails(DIED),
    "patch_every_library": answers("honest"),
    "patch_the_interpreter": fails(DIED),
    "forge_an_answer_to_nobody": fails(DIED),
    "forge_two_answers": answers("forged"),
    "forge_an_answer_of_another_request": fails(DIED),
    "forge_a_tool_call": answers("TOOL_NOT_FOUND"),
    "forge_a_hello": answers("honest"),
    "garbage_on_the_stream": fails(DIED),
    "endless_frame": fails(DIED),
    "deep_frame": fails(DIED),
    "threads_that_write_later": answers("honest"),
    "close_every_descriptor": fails(DIED),
    "replace_the_stream": fails(DIED, TOO_LATE, timeout_s=SHORT_S),
    "use_up_descriptors": answers("honest"),
    # the disk
    "fill_the_disk": answers([NOTHING, True, "No space left on device"]),
    "one_endless_file": fails(FAILED, is_replaced=True),
    "use_up_inodes": answers(True),
    "symbolic_links": answers("done"),
    # the next call
    "change_the_next_call": answers(NOTHING, NOTHING, inputs=({"call": 1}, {"call": 2})),
    # a lie about itself lets code keep its own process: what it can find there is its own component's
    "forge_that_nothing_is_worn": answers(1, 2, inputs=({}, {}), is_replaced=False),
    # tests
    "tests_that_forge_a_green_report": reports(passed=1_000_001, failed=0, errors=0),
    "tests_that_spoil_the_report": fails("EXECUTION_FAILED", is_tests=True),
    "tests_that_exit_with_success": fails(DIED, is_tests=True),
    "tests_that_hang": fails(TOO_LATE, is_tests=True, timeout_s=1.5),
    "tests_that_flood": reports(passed=0, failed=500, errors=0),
}
