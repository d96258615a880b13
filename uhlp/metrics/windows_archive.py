"""WindowsArchive: keeps the windows' slots in the runtime store, so that a restart loses at most a minute of them.

A key holds the slots of many series in one stretch of time: a minute of slots of 10 s, or one slot of 5 min or of 1 h.

    uhlp:framework:windows:<server>:<seconds of a slot>:<number of the stretch>:<part>

Each minute the stretches in progress are written, if anything happened in them, and never again when they are over. A
key goes by itself when its time is out of reach: there are some 1,600 of them, in parts of 64 KiB. Servers that share a
Redis keep theirs apart.
"""

import asyncio
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any
from zlib import crc32

import orjson
import structlog

from uhlp.errors import Conflict, RuntimeStoreUnavailable
from uhlp.metrics.slot import number_of
from uhlp.metrics.window_history import FINE, HOUR_S, SCALES, Scale
from uhlp.metrics.windows import Series, Windows
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.runtime_store import MOST_LISTED

log = structlog.get_logger(__name__)

_STRETCH_S = {scale: 60 if scale is FINE else scale.slot_s for scale in SCALES}
_PART_BYTES = 65_536
_SERIES_AT_A_TIME = 20
"""After so many series other work has its turn: about 2 ms."""
_READ_AT_A_TIME = 50
_CLOCK_SET_BACK_S = HOUR_S
"""What lies further ahead of the clock was written by a clock that was wrong."""

Rows = list[tuple[Series, list[bytes]]]


class WindowsArchive:
    """`open` takes back what was kept, `run_cycle` (once a minute) keeps what is new, `aclose` does so a last time.

    What cannot be read is dropped with a log line. While the store does not answer, nothing is taken back or kept, and
    both are tried again; after an hour without what was before, the windows begin anew.
    """

    def __init__(self, *, windows: Windows, values: FrameworkValues, server: str) -> None:
        self._windows = windows
        self._values = values
        self._prefix = f"windows:{server}:"
        self._opened_s = windows.now_s()
        self._is_restored = False
        self._next = {scale: int(self._opened_s / seconds) for scale, seconds in _STRETCH_S.items()}
        """The first stretch that is not over, or was not written since."""
        self._written: dict[Scale, int] = {}
        """Hash of what was written of the stretch in progress."""
        self._forgotten: dict[str, float] = {}
        """When applications were dropped: what was kept of them before is theirs no more."""
        self._is_forgetting = False
        self._working = asyncio.Lock()
        windows.on_forget(self._forget)

    async def open(self, *, within_s: float = 2.0) -> None:
        """Take back what was kept. What takes longer than `within_s`, or fails, is done by the first cycle."""
        try:
            async with self._working:
                await self._restore(within_s)
        except (RuntimeStoreUnavailable, TimeoutError) as error:
            log.warning("windows_not_restored_yet", why=str(error) or f"it takes longer than {within_s:g} s")

    async def run_cycle(self) -> None:
        """Keep what is new since the last cycle. While the store does not answer, a later cycle makes up for it."""
        try:
            async with self._working:
                if not self._is_restored:
                    await self._restore()
                self._windows.follow_clock()
                now = self._windows.now_s()
                async for series in self._in_turns():
                    self._windows.settle(series)
                for scale in SCALES:
                    await self._keep(scale, int(now / _STRETCH_S[scale]))
                await self._keep_forgotten(now)
        except RuntimeStoreUnavailable as error:  # its own probe says so; serving does not depend on what is kept here
            log.warning("windows_not_kept", why=error.message)

    async def aclose(self) -> None:
        """Keep what is new."""
        await self.run_cycle()

    # -- keeping

    async def _keep(self, scale: Scale, last: int) -> None:
        """Write what is new in the stretches up to `last`, which is in progress."""
        first, a_stretch = self._next[scale], _STRETCH_S[scale] // scale.slot_s
        stretches: dict[int, Rows] = defaultdict(list)
        async for series in self._in_turns():
            found: dict[int, list[bytes]] = defaultdict(list)
            for packed in self._windows.kept(series, first * a_stretch, scale):
                found[number_of(packed) // a_stretch].append(packed)
            for stretch, slots in found.items():
                stretches[stretch].append((series, slots))
        for stretch in sorted(one for one in stretches if one <= last):
            content = hash((stretch, *(slot for _series, slots in stretches[stretch] for slot in slots)))
            if content != self._written.get(scale):
                await self._write(scale, stretch, stretches[stretch])
                self._written[scale] = content
        self._next[scale] = last

    async def _keep_forgotten(self, now: float) -> None:
        if self._is_forgetting:
            oldest = now - SCALES[-1].reach_s
            self._forgotten = {app_id: at for app_id, at in self._forgotten.items() if at > oldest}
            kept = dict(self._forgotten)
            await self._values.set(f"{self._prefix}forgotten", kept, ttl_seconds=SCALES[-1].reach_s)
            self._is_forgetting = kept != self._forgotten

    async def _write(self, scale: Scale, stretch: int, rows: Rows) -> None:
        ends_s = (stretch + 1) * _STRETCH_S[scale]
        ttl_s = max(60.0, ends_s + scale.reach_s + _CLOCK_SET_BACK_S - self._windows.now_s())
        for number, part in enumerate(_parts(rows)):
            listed = [[*series, [b64encode(one).decode() for one in slots]] for series, slots in part]
            value = {"crc": _checksum(listed), "series": listed}
            await self._values.set(f"{self._prefix}{scale.slot_s}:{stretch}:{number}", value, ttl_seconds=ttl_s)

    # -- taking back

    async def _restore(self, within_s: float | None = None) -> None:
        if self._windows.now_s() - self._opened_s > HOUR_S:
            log.warning("windows_begin_anew", why="the runtime store did not answer for an hour")
            self._is_restored = True
            return
        async with asyncio.timeout(within_s):
            kept = await self._read_kept()
        if kept.unreadable:
            self._windows.dropped["values"] += len(kept.unreadable)
            log.warning("kept_windows_dropped", values=len(kept.unreadable), first=kept.unreadable[0])
        self._windows.not_before(kept.newest_s)
        self._forgotten = {**kept.forgotten, **self._forgotten}
        self._next = {scale: min(self._next[scale], kept.newest.get(scale, self._next[scale])) for scale in SCALES}
        self._is_restored = True
        for series, scales in kept.series.items():
            self._windows.take_back(series, scales)
            await asyncio.sleep(0)
        log.info("windows_restored", series=len(kept.series))

    async def _read_kept(self) -> "_Kept":
        kept = _Kept(forgotten={**await self._read_forgotten(), **self._forgotten})
        async for key, found in self._found():
            try:
                scale, stretch = self._place(key)
                if stretch * _STRETCH_S[scale] > self._windows.now_s() + _CLOCK_SET_BACK_S:
                    raise ValueError("it is from the future")
                rows = list(_rows(found, scale, stretch))
            except (ValueError, KeyError, TypeError) as error:
                kept.unreadable.append(f"{key}: {error}")
            else:
                kept.add(scale, stretch, rows)
        return kept

    async def _read_forgotten(self) -> dict[str, float]:
        try:
            found = (await self._values.get(f"{self._prefix}forgotten")).value or {}
            return {str(app_id): float(at) for app_id, at in found.items()}
        except (Conflict, ValueError, TypeError, AttributeError) as error:
            log.warning("kept_windows_dropped", values=1, first=f"forgotten: {error}")
            return {}

    async def _found(self) -> AsyncIterator[tuple[str, Any]]:
        """Every kept value with its key; what is no JSON value as the error that says so."""
        after, keys = "", [""]
        while keys:
            keys = await self._values.keys(self._prefix, after=after, limit=MOST_LISTED)
            after = keys[-1] if keys else after
            for at in range(0, len(keys), _READ_AT_A_TIME):
                some = [key for key in keys[at : at + _READ_AT_A_TIME] if not key.endswith(":forgotten")]
                for key, found in zip(some, await asyncio.gather(*map(self._read, some)), strict=True):
                    yield key, found

    async def _read(self, key: str) -> Any:
        try:
            return (await self._values.get(key)).value
        except (Conflict, ValueError) as error:
            return error

    def _place(self, key: str) -> tuple[Scale, int]:
        slot_s, stretch, _part = key.removeprefix(self._prefix).split(":")
        scale = next((one for one in SCALES if one.slot_s == int(slot_s)), None)
        if scale is None:
            raise ValueError("there is no such scale")
        return scale, int(stretch)

    def _forget(self, app_id: str) -> None:
        self._forgotten[app_id] = self._windows.now_s()
        self._is_forgetting = True

    async def _in_turns(self) -> AsyncIterator[Series]:
        for number, series in enumerate(self._windows.series(), 1):
            yield series
            if number % _SERIES_AT_A_TIME == 0:
                await asyncio.sleep(0)


class _Kept:
    """What a store holds of the windows of a server."""

    def __init__(self, *, forgotten: dict[str, float]) -> None:
        self.forgotten = forgotten
        self.series: dict[Series, dict[Scale, list[bytes]]] = defaultdict(lambda: {scale: [] for scale in SCALES})
        self.newest: dict[Scale, int] = {}
        """The newest stretch of each scale."""
        self.newest_s = 0
        """When the newest slot begins."""
        self.unreadable: list[str] = []

    def add(self, scale: Scale, stretch: int, rows: Rows) -> None:
        """The slots of one value, less those of applications that were dropped since."""
        self.newest[scale] = max(self.newest.get(scale, 0), stretch)
        for series, slots in rows:
            gone_s = self.forgotten.get(series[0], 0.0)
            own = [one for one in slots if number_of(one) * scale.slot_s >= gone_s]
            self.series[series][scale] += own
            self.newest_s = max([self.newest_s, *(number_of(one) * scale.slot_s for one in own)])


def _parts(rows: Rows) -> Iterator[Rows]:
    """Rows in parts of about `_PART_BYTES`."""
    part: Rows = []
    size = 0
    for series, slots in rows:
        part.append((series, slots))
        size += sum(map(len, slots))
        if size >= _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _rows(found: Any, scale: Scale, stretch: int) -> Iterator[tuple[Series, list[bytes]]]:
    """What a value holds, if `_write` has written it for this place. Raises ValueError, KeyError, TypeError."""
    if isinstance(found, Exception):
        raise ValueError(str(found))
    if found["crc"] != _checksum(found["series"]):
        raise ValueError("it is damaged")
    for app_id, component_id, handler, slots in found["series"]:
        packed = [b64decode(one) for one in slots]
        if any(number_of(one) * scale.slot_s // _STRETCH_S[scale] != stretch for one in packed):
            raise ValueError("its slots are of another time")
        yield (app_id, component_id, handler), packed


def _checksum(listed: Any) -> int:
    return crc32(orjson.dumps(listed))
