"""SnapshotStore: the snapshots in service, and how they follow the repositories."""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import structlog

from uhlp.catalogue import server
from uhlp.errors import AppNotFound, DefinitionInvalid, NotFound, UhlpError, Unavailable
from uhlp.metering import Meter
from uhlp.registry.application_compiler import compile_application
from uhlp.registry.component_compiler import ComparatorCheck
from uhlp.registry.offers import Offers
from uhlp.registry.snapshot import AppSnapshot
from uhlp.state.state_manager import StateManager

log = structlog.get_logger(__name__)


class AppStatus(StrEnum):
    """What an application does (seed 003 §3.1.2)."""

    ACTIVE = "ACTIVE"
    INITIALIZING = "INITIALIZING"
    INACTIVE = "INACTIVE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"


INACTIVE_REF = "refs/uhlp/inactive"


class SnapshotStore:
    """One snapshot per application, swapped whole. Reading one is a dict look-up.

    A revision that does not compile leaves the last good snapshot in service (DEGRADED); after a restart the newest
    good revision of the history is found again. An application without any good revision is in ERROR.
    """

    def __init__(
        self,
        *,
        state: StateManager,
        meter: Meter,
        global_configuration: Callable[[], Mapping[str, Any]],
        last_good_search: int,
        check_comparator: ComparatorCheck,
    ) -> None:
        self._state = state
        self._global_configuration = global_configuration
        self._last_good_search = last_good_search
        self._check_comparator = check_comparator
        self._snapshots: dict[str, AppSnapshot] = {}
        self._revisions: dict[str, str] = {}
        self._faults: dict[str, UhlpError] = {}
        self._inactive: set[str] = set()
        self._initializing: set[str] = set()
        self._swaps = server.SNAPSHOTS.on(meter)
        self._refusals = server.BAD_REVISIONS.on(meter)
        self._listeners: list[Callable[[str], None]] = []

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener(app_id)` after each swap and removal, on the event loop."""
        self._listeners.append(listener)

    def get(self, app_id: str) -> AppSnapshot:
        """The snapshot in service; AppNotFound, or Unavailable with the reason for an application in ERROR."""
        snapshot = self._snapshots.get(app_id)
        if snapshot is not None:
            return snapshot
        fault = self._faults.get(app_id)
        if fault is not None:
            raise Unavailable(f"{app_id} has no revision that can be served: {fault.message}", details=fault.details)
        raise AppNotFound(f"no application has the id {app_id}", details={"appId": app_id})

    def in_service(self, app_id: str) -> AppSnapshot | None:
        """The snapshot in service, if there is one."""
        return self._snapshots.get(app_id)

    def is_known(self, app_id: str) -> bool:
        """Whether the application is in service, or in ERROR."""
        return app_id in self._snapshots or app_id in self._faults

    def is_inactive(self, app_id: str) -> bool:
        """Whether the application was deregistered and its repository kept."""
        return app_id in self._inactive

    def app_ids(self) -> list[str]:
        """Applications that have a snapshot in service."""
        return sorted(self._snapshots)

    def known_app_ids(self) -> list[str]:
        """Applications in service, and those in ERROR."""
        return sorted(self._snapshots.keys() | self._faults.keys())

    def known_revisions(self) -> dict[str, str]:
        """The newest revision seen of every application, good or bad."""
        return dict(self._revisions)

    def status(self, app_id: str) -> tuple[AppStatus, dict[str, Any]]:
        """The status and its details: revision in service, newest revision, problems."""
        snapshot, fault = self._snapshots.get(app_id), self._faults.get(app_id)
        details: dict[str, Any] = {
            "revision": snapshot.revision if snapshot else None,
            "newestRevision": self._revisions.get(app_id),
        }
        if fault is not None:
            details |= {"message": fault.message, "problems": fault.details.get("problems", [])}
            return (AppStatus.DEGRADED if snapshot else AppStatus.ERROR), details
        if snapshot is not None:
            return AppStatus.ACTIVE, details
        if app_id in self._inactive:
            return AppStatus.INACTIVE, details
        if app_id in self._initializing:
            return AppStatus.INITIALIZING, details
        raise AppNotFound(f"no application has the id {app_id}", details={"appId": app_id})

    async def compile(
        self, app_id: str, files: Mapping[str, bytes], revision: str, *, offers: Offers | None = None
    ) -> AppSnapshot:
        """A snapshot of files, in a thread; DefinitionInvalid with all problems."""
        configuration = self._global_configuration()
        return await asyncio.to_thread(
            compile_application,
            app_id,
            files,
            revision=revision,
            global_configuration=configuration,
            check_comparator=self._check_comparator,
            offers=offers,
        )

    async def load(self, app_id: str) -> None:
        """Bring the application to the tip of its repository, or to INACTIVE where that is noted there."""
        self._initializing.add(app_id)
        try:
            if await self._state.read_ref_tree(app_id, INACTIVE_REF) is not None:
                self._inactive.add(app_id)
                return
            tree = await self._state.read_tree(app_id)
            try:
                self.swap(await self.compile(app_id, tree.files, tree.revision))
            except DefinitionInvalid as fault:
                await self._keep_last_good(app_id, tree.revision, fault)
        except DefinitionInvalid as fault:  # the tree itself cannot be read (a symlink)
            revision = (await self._state.history(app_id, limit=1))[0].revision
            await self._keep_last_good(app_id, revision, fault)
        except AppNotFound:
            raise
        except NotFound:
            log.warning("repository_without_commit", app_id=app_id)
        except Unavailable as fault:  # a damaged repository, a disk that fails
            self._faults[app_id] = fault
            log.error("repository_unreadable", app_id=app_id, reason=fault.message)
        finally:
            self._initializing.discard(app_id)

    def swap(self, snapshot: AppSnapshot) -> None:
        """Put a snapshot into service."""
        app_id = snapshot.app_id
        before = self._snapshots.get(app_id)
        if snapshot.stale_overrides and (before is None or before.stale_overrides != snapshot.stale_overrides):
            log.warning("stale_overrides", app_id=app_id, sections=snapshot.stale_overrides)
        self._snapshots[app_id] = snapshot
        self._revisions[app_id] = snapshot.revision
        self._faults.pop(app_id, None)
        self._inactive.discard(app_id)
        self._swaps.labels(app_id).inc()
        self._tell(app_id)

    def remove(self, app_id: str, *, inactive: bool) -> None:
        """Take an application out of service."""
        for known in (self._snapshots, self._revisions, self._faults):
            known.pop(app_id, None)
        (self._inactive.add if inactive else self._inactive.discard)(app_id)
        self._tell(app_id)

    async def _keep_last_good(self, app_id: str, revision: str, fault: DefinitionInvalid) -> None:
        self._revisions[app_id] = revision
        self._faults[app_id] = fault
        self._refusals.labels(app_id).inc()
        log.warning("bad_revision", app_id=app_id, revision=revision, reason=fault.message)
        if app_id in self._snapshots:
            return
        for commit in (await self._state.history(app_id, limit=self._last_good_search))[1:]:
            try:
                tree = await self._state.read_tree(app_id, commit.revision)
                good = await self.compile(app_id, tree.files, tree.revision)
            except DefinitionInvalid:
                continue
            self._snapshots[app_id] = good
            self._tell(app_id)
            return

    def _tell(self, app_id: str) -> None:
        for listener in self._listeners:
            listener(app_id)
