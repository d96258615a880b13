"""FormerNames: a group whose commands are also found by names they once had."""

from typing import Any

from typer.core import TyperGroup

FORMER = {"token": "tokens"}


class FormerNames(TyperGroup):
    """`uhlp token list` is `uhlp tokens list`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # typer carries a click of its own
        return super().resolve_command(ctx, [FORMER.get(args[0], args[0]), *args[1:]] if args else args)
