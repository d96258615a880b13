"""DefaultCommand: a group whose first word may be a command of it, or the first argument of its default command."""

from typing import Any

from typer.core import TyperGroup

DEFAULT = "run"


class DefaultCommand(TyperGroup):
    """`uhlp eval APP COMPONENT` is `uhlp eval run APP COMPONENT`; `uhlp eval compare …` stays what it is."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # typer carries a click of its own
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = [DEFAULT, *args]
        return super().resolve_command(ctx, args)
