"""RemoteSync: keeps one application's main and its remote's branch the same."""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from uhlp.errors import RemoteUnavailable, RevisionConflict
from uhlp.state.definition_repository import DefinitionRepository
from uhlp.state.remote import Remote
from uhlp.state.remote_git import FETCHED, RemoteGit

log = structlog.get_logger(__name__)
T = TypeVar("T")
_TRIES = 12
"""Other writers of the remote may be quicker again and again."""
_LOCKED = re.compile(r"lock ref|update ref")


@dataclass(frozen=True, slots=True)
class RemoteState:
    """A remote, and why it and main are not the same; None when they are.

    While it `is_away` (it did not answer the last time) changes do not wait for it: `pull` brings them there.
    """

    remote: Remote
    problem: str | None
    is_away: bool = False


class RemoteSync:
    """Main is moved by whoever holds the application's lock.

    A change that the remote refuses is put on top of what came there meanwhile. Where that clashes, the change is
    taken back, its commit kept at refs/uhlp/refused/<revision>. While the remote does not answer, changes stay on main
    and are pushed when it does.
    """

    def __init__(self, *, git: RemoteGit) -> None:
        self._git = git

    async def publish(self, path: Path, remote: Remote, before: str | None, revision: str) -> tuple[str, str | None]:
        """Push a new revision of main: (the revision that main has now, why the remote does not have it yet).

        RevisionConflict when the remote's history does not take it; main is then as if it had not been made, and what
        came to the remote meanwhile is in it.
        """
        ours = revision
        try:
            for _ in range(_TRIES):
                refused = await self._git.push(path, remote, ours)
                if refused is None:
                    return ours, None
                await self._git.fetch(path, remote)
                rebased = await _in_repository(path, _onto_theirs(ours))
                if rebased == ours and not _LOCKED.search(refused):
                    break  # nothing new came: it is the change that the remote does not want
                ours = rebased or ours
            raise RevisionConflict(f"{remote.url} refuses the change: {refused}", details={"reason": refused})
        except RemoteUnavailable as error:
            return ours, error.message
        except RevisionConflict as clash:
            clash.details["keptAt"] = await _in_repository(path, lambda repository: repository.take_back(ours, before))
            with suppress(RevisionConflict):  # older changes of ours that clash as well; `pull` says so
                await _in_repository(path, _onto_theirs(None))
            raise

    async def fetch(self, path: Path, remote: Remote) -> str | None:
        """Bring what the remote has here, and nothing else; why that cannot be done. Needs no lock."""
        try:
            await self._git.fetch(path, remote)
        except RemoteUnavailable as error:
            return error.message
        return None

    async def pull(self, path: Path, remote: Remote) -> str | None:
        """Bring main and the remote's branch together; why that is not so, None when it is."""
        try:
            for _ in range(_TRIES):
                await self._git.fetch(path, remote)
                tip = await _in_repository(path, _onto_theirs(None))
                if tip is None or await self._git.push(path, remote, tip) is None:
                    return None
            return f"{remote.url} does not take what main has"
        except RemoteUnavailable as error:
            return error.message
        except RevisionConflict as clash:
            return f"main and {remote.url} have gone apart: {clash.message}"


def _onto_theirs(tip: str | None) -> Callable[[DefinitionRepository], str | None]:
    return lambda repository: repository.rebase(FETCHED, tip)


async def _in_repository(path: Path, work: Callable[[DefinitionRepository], T]) -> T:
    return await asyncio.to_thread(lambda: work(DefinitionRepository(path)))
