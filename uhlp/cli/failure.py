"""How a command fails."""

import errno

NOT_SO = 1
NOT_UNDERSTOOD = 2
NOT_ASKED = 3
EXIT_STATUSES = (
    "Exit status: 0 done; 1 not so, not complete or refused; 2 not understood (--help); 3 the server cannot be asked: "
    "it is away, or there is no token that it takes; 130 interrupted."
)
"""What `uhlp --help` says of them. NOT_UNDERSTOOD is typer's own."""


class CommandError(Exception):
    """Ends the command with `status`: one line that says what is wrong, and a hint at what to do."""

    def __init__(self, message: str, *, hint: str = "", status: int = NOT_SO) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status


def cannot_listen(host: str, port: int, error: OSError, *, command: str) -> CommandError:
    """What to say when `command` cannot have its port."""
    if error.errno == errno.EADDRINUSE:
        another = f"choose another: uhlp {command} --port {port % 65_535 + 1}"
        return CommandError(f"port {port} of {host} is in use", hint=another)
    return CommandError(f"{host}:{port} cannot be listened on: {error.strerror or error}")
