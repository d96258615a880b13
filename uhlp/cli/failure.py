"""How a command fails."""

import errno


class CommandError(Exception):
    """Ends the command with exit status 1: one line that says what is wrong, and a hint at what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def cannot_listen(host: str, port: int, error: OSError, *, command: str) -> CommandError:
    """What to say when `command` cannot have its port."""
    if error.errno == errno.EADDRINUSE:
        another = f"choose another: uhlp {command} --port {port % 65_535 + 1}"
        return CommandError(f"port {port} of {host} is in use", hint=another)
    return CommandError(f"{host}:{port} cannot be listened on: {error.strerror or error}")
