"""Turns: what applications have asked for, taken so that none of them waits for all that another one has asked for."""

import asyncio
from typing import Generic, TypeVar

WorkT = TypeVar("WorkT")


class Turns(Generic[WorkT]):
    """Each application has one thing in work, the others of its own wait behind that in their order; applications that
    wait are served in turn. Whoever takes something says when it is `over`.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, WorkT]] = {}
        """By application and name; the application whose turn is next stands first."""
        self._in_work: set[str] = set()
        self._changed = asyncio.Event()

    def put(self, app_id: str, name: str, work: WorkT) -> None:
        self._waiting.setdefault(app_id, {})[name] = work
        self._changed.set()

    async def take(self) -> tuple[str, str, WorkT]:
        """Application, name and work of what is to be done next, as soon as there is something."""
        while (app_id := next((one for one in self._waiting if one not in self._in_work), None)) is None:
            self._changed.clear()
            await self._changed.wait()
        waiting = self._waiting.pop(app_id)
        name = next(iter(waiting))
        work = waiting.pop(name)
        if waiting:
            self._waiting[app_id] = waiting
        self._in_work.add(app_id)
        return app_id, name, work

    def over(self, app_id: str) -> None:
        """What was taken of this application is done, or given up."""
        self._in_work.discard(app_id)
        self._changed.set()

    def withdraw(self, app_id: str, name: str) -> None:
        """This is not wanted any more, if it waits."""
        waiting = self._waiting.get(app_id, {})
        waiting.pop(name, None)
        if not waiting:
            self._waiting.pop(app_id, None)
