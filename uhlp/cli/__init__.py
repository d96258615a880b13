"""The command line: `uhlp`. Modules here load nothing heavy, so that `uhlp --help` answers at once."""

import gc
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from uhlp.cli.failure import CommandError

COLLECT_AFTER = (50_000, 10, 10)
"""What a command loads stays to its end. At Python's own 700 objects a tenth of its time or more goes into looking for
garbage among it."""


def main() -> None:
    """Entry point: runs the command; an expected failure is one line with a hint on stderr, and an exit status.

    With --json that failure is JSON on stderr, in the form in which the server tells errors. Nobody is shown a
    traceback because they press Ctrl-C, or because who reads the output has seen enough.
    """
    gc.set_threshold(*COLLECT_AFTER)
    try:
        from uhlp.cli.app import app
        from uhlp.cli.failure import INTERRUPTED, CommandError
        from uhlp.errors import UhlpError
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        app(prog_name="uhlp")
    except CommandError as failure:
        _end(failure)
    except UhlpError as error:
        _end(CommandError(error.message, error=error.envelope()["error"]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _stop_writing()
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _stop_writing()


def _end(failure: "CommandError") -> NoReturn:
    if "--json" in sys.argv:
        import json

        print(json.dumps(failure.envelope(), indent=2, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"uhlp: {failure}", file=sys.stderr)
        if failure.hint:
            print(f"  {failure.hint}", file=sys.stderr)
    sys.exit(failure.status)


def _stop_writing() -> NoReturn:
    """Nobody reads any more. What is left to write goes nowhere, or the interpreter would complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
