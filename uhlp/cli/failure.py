"""How a command fails."""

import errno
from collections.abc import Mapping
from typing import Any

NOT_SO = 1
NOT_UNDERSTOOD = 2
NOT_ASKED = 3
INTERRUPTED = 130
EXIT_STATUSES = (
    "Exit status: 0 done; 1 not so, not complete or refused; 2 not understood (--help); 3 the server cannot be asked: "
    "it is away, or there is no token that it takes; 130 interrupted."
)
"""What `uhlp --help` says of them. NOT_UNDERSTOOD is typer's own."""


_CODES = {NOT_SO: "COMMAND_FAILED", NOT_ASKED: "SERVER_NOT_ASKED"}


class CommandError(Exception):
    """Ends the command with `status`: one line that says what is wrong, and a hint at what to do.

    `error` is what the server said, where it said it.
    """

    def __init__(
        self, message: str, *, hint: str = "", status: int = NOT_SO, error: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status
        self.error = error

    def envelope(self) -> dict[str, Any]:
        """As the server tells errors, with the hint: {"error": {code, message, retryable, details, traceId, hint}}."""
        own = {
            "code": _CODES[self.status],
            "message": str(self),
            "retryable": self.status == NOT_ASKED,
            "details": {},
            "traceId": None,
        }
        return {"error": {**(self.error or own), "hint": self.hint}}


class ServerAway(CommandError):
    """Nobody answered, or not to the end: asked again, somebody may."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, status=NOT_ASKED)


def place_of(problem: Mapping[str, Any]) -> str:
    """Where a problem of a definition or a request is: `app.yaml, line 3, /llm: `; "" where nothing says it."""
    line = f"line {problem['line']}" if problem.get("line") else ""
    place = ", ".join(str(part) for part in (problem.get("file"), line, problem.get("path")) if part)
    return f"{place}: " if place else ""


def cannot_listen(host: str, port: int, error: OSError, *, command: str) -> CommandError:
    """What to say when `command` cannot have its port."""
    if error.errno == errno.EADDRINUSE:
        another = f"choose another: uhlp {command} --port {port % 65_535 + 1}"
        return CommandError(f"port {port} of {host} is in use", hint=another)
    return CommandError(f"{host}:{port} cannot be listened on: {error.strerror or error}")
