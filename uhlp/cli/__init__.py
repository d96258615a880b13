"""The command line: `uhlp`. Modules here load nothing heavy, so that `uhlp --help` answers at once."""

import sys


def main() -> None:
    """Entry point: runs the command; an expected failure is one line with a hint on stderr, and an exit status."""
    from uhlp.cli.app import app
    from uhlp.cli.failure import CommandError
    from uhlp.errors import UhlpError

    try:
        app(prog_name="uhlp")
    except CommandError as failure:
        print(f"uhlp: {failure}", file=sys.stderr)
        if failure.hint:
            print(f"  {failure.hint}", file=sys.stderr)
        sys.exit(failure.status)
    except UhlpError as error:
        print(f"uhlp: {error.message}", file=sys.stderr)
        sys.exit(1)
