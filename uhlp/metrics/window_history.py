"""WindowHistory: the slots of one series (application, component, handler), on three scales.

An execution goes into the open slot of 10 s. When that is over it is packed, and added to the open slots of 5 min and
of 1 h, which are packed in their turn. So every scale reaches back as far as it is asked for, in few slots.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from typing import NamedTuple

from uhlp.metrics.slot import Slot, number_of, requests_of


class Scale(NamedTuple):
    """How long a slot is and how far back such slots are kept."""

    slot_s: int
    reach_s: int

    @property
    def slots(self) -> int:
        """How many reach that far."""
        return self.reach_s // self.slot_s


HOUR_S, DAY_S = 3_600, 86_400
FINE = Scale(10, HOUR_S)
COARSE = (Scale(300, 2 * DAY_S), Scale(HOUR_S, 35 * DAY_S))
SCALES = (FINE, *COARSE)
_COARSER = dict(pairwise(SCALES))
_MOST_SUMS = 8
"""Windows of different lengths over which the hours of one series are kept added up."""


class WindowHistory:
    """Slots are numbered from the epoch; `current` is the open one of 10 s."""

    __slots__ = ("_open", "_packed", "_summed", "_summed_at", "current")

    def __init__(self, number: int) -> None:
        self.current = Slot(number)
        self._packed: dict[Scale, deque[bytes]] = {scale: deque() for scale in SCALES}
        self._open: dict[Scale, Slot] = {}
        self._summed: dict[int, bytes] = {}
        self._summed_at = 0

    def open_slot(self, number: int) -> Slot:
        """Close the current slot and begin another; what is out of reach is dropped."""
        closed = self.current
        if closed.count:
            for scale in COARSE:
                self._add(scale, closed)
            fine = self._packed[FINE]
            if fine and number_of(fine[-1]) == closed.number:  # the server was restarted within it
                closed.merge_packed(fine.pop())
            fine.append(closed.pack())
        for scale in SCALES:
            first, packed = number * FINE.slot_s // scale.slot_s - scale.slots + 1, self._packed[scale]
            while packed and number_of(packed[0]) < first:
                packed.popleft()
        self.current = Slot(number)
        return self.current

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left within reach."""
        return not (self.current.count or self._open or any(self._packed.values()))

    def settle(self, number: int) -> None:
        """Close what is over when slot `number` of 10 s is in progress, although nothing happened since."""
        if self.current.number != number:
            self.open_slot(number)
        for scale in COARSE:
            slot = self._open.get(scale)
            if slot is not None and slot.number < number * FINE.slot_s // scale.slot_s:
                self._pack_open(scale)

    def since(self, first: int, scale: Scale) -> Iterator[Slot | bytes]:
        """What happened from the beginning of slot `first` of `scale` on, in as few slots as hold exactly that.

        Those in progress come as they are now. (An hour in slots of 10 s is read in 5 min where a whole one fits: 70
        slots instead of 360.)
        """
        if self.current.number * FINE.slot_s >= first * scale.slot_s:
            yield self.current
        if scale is SCALES[-1]:
            yield from self._hours(first)
            return
        coarser = _COARSER[scale]
        ratio = coarser.slot_s // scale.slot_s
        whole = -(-first // ratio)
        yield from self._hours(whole) if coarser is SCALES[-1] else self._between(coarser, whole)
        yield from self._between(scale, first, whole * ratio)

    def numbered(self, first: int, scale: Scale) -> Iterator[tuple[int, Slot | bytes]]:
        """The same in slots of `scale` alone, each with its number, for whoever keeps them apart."""
        at = self.current.number * FINE.slot_s // scale.slot_s
        if at >= first:
            yield at, self.current
        for slot in self._between(scale, first):
            yield number_of(slot) if isinstance(slot, bytes) else slot.number, slot

    def kept(self, first: int, scale: Scale) -> list[bytes]:
        """The slots of `scale` from number `first` on, packed, one a number; the one in progress as it is now.

        For a history that is settled.
        """
        number = self.current.number * FINE.slot_s // scale.slot_s
        closed = [slot for slot in self._between(scale, first) if isinstance(slot, bytes)]
        slot = Slot(number).merge(self.current)
        if scale in self._open:
            slot.merge(self._open[scale])
        if closed and number_of(closed[-1]) == number:
            slot.merge_packed(closed.pop())
        return [*closed, slot.pack()] if slot.count and number >= first else closed

    def take_back(self, kept: Mapping[Scale, Iterable[bytes]], number: int) -> None:
        """Take in the slots of `kept`, from before this history began; slot `number` of 10 s is in progress now.

        Of a slot that a crash left behind on its scale, what follows from the finer scale is taken.
        """
        self.settle(number)
        own = list(self._packed[FINE])
        slots = {scale: _fullest(kept.get(scale, ())) for scale in SCALES}
        for finer, scale in pairwise(SCALES):
            _fill_up(slots[scale], scale, slots[finer].values(), finer)
        for packed in own:
            for scale in SCALES:
                at = number_of(packed) * FINE.slot_s // scale.slot_s
                slots[scale][at] = _sum(at, [packed, *([slots[scale][at]] if at in slots[scale] else [])])
        for scale in SCALES:
            in_order = [slots[scale][at] for at in sorted(slots[scale])]
            if scale is not FINE and in_order:
                newest = in_order.pop()
                self._open[scale] = Slot(number_of(newest)).merge_packed(newest)
            self._packed[scale] = deque(in_order)
        self._summed = {}
        self.settle(number)

    def _hours(self, first: int) -> Iterator[Slot | bytes]:
        """The slots of 1 h from number `first` on: those that are over as one, added up once an hour."""
        packed = self._packed[SCALES[-1]]
        if packed:
            newest = number_of(packed[-1])
            if self._summed_at != newest or len(self._summed) >= _MOST_SUMS:
                self._summed_at, self._summed = newest, {}
            if first not in self._summed:
                begin = bisect_left(packed, first, key=number_of)
                self._summed[first] = _sum(first, islice(packed, begin, None)) if begin < len(packed) else b""
            if self._summed[first]:
                yield self._summed[first]
        slot = self._open.get(SCALES[-1])
        if slot is not None and slot.number >= first:
            yield slot

    def _between(self, scale: Scale, first: int, limit: int | None = None) -> Iterator[Slot | bytes]:
        """The slots of `scale` numbered from `first` to below `limit`, without what the current slot holds."""
        packed = self._packed[scale]
        if packed:
            end = None if limit is None else bisect_left(packed, limit, key=number_of)
            yield from islice(packed, bisect_left(packed, first, key=number_of), end)
        slot = self._open.get(scale)
        if slot is not None and first <= slot.number and (limit is None or slot.number < limit):
            yield slot

    def _add(self, scale: Scale, closed: Slot) -> None:
        number = closed.number * FINE.slot_s // scale.slot_s
        slot = self._open.get(scale)
        if slot is None or slot.number != number:
            if slot is not None:
                self._pack_open(scale)
            slot = self._open[scale] = Slot(number)
        slot.merge(closed)

    def _pack_open(self, scale: Scale) -> None:
        self._packed[scale].append(self._open.pop(scale).pack())


def _fullest(kept: Iterable[bytes]) -> dict[int, bytes]:
    """Slots by number. Of two with one number the fuller one: it was kept later."""
    slots: dict[int, bytes] = {}
    for packed in kept:
        known = slots.get(number_of(packed))
        if known is None or requests_of(known) < requests_of(packed):
            slots[number_of(packed)] = packed
    return slots


def _fill_up(slots: dict[int, bytes], scale: Scale, parts: Iterable[bytes], finer: Scale) -> None:
    """Where the parts of a finer scale hold more than the slot itself, let it be their sum."""
    by_number: dict[int, list[bytes]] = {}
    for part in parts:
        by_number.setdefault(number_of(part) * finer.slot_s // scale.slot_s, []).append(part)
    for at, found in by_number.items():
        if at not in slots or requests_of(slots[at]) < sum(map(requests_of, found)):
            slots[at] = _sum(at, found)


def _sum(number: int, parts: Iterable[bytes]) -> bytes:
    total = Slot(number)
    for part in parts:
        total.merge_packed(part)
    return total.pack()
