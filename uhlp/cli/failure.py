"""How a command fails."""


class CommandError(Exception):
    """Ends the command with exit status 1: one line that says what is wrong, and a hint at what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
