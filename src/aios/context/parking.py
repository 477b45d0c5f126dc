"""Where contexts without a slot are: in RAM while there is room, in files when that gets scarce."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Set
from typing import Literal

from aios.context.entry import Entry
from aios.context.extents import Extents
from aios.context.swap import SwapSpace
from aios.context.worth import Worth
from aios.cores.core import Extent, KvOp, SwapOut

HIGH, LOW = 0.8, 0.7
"""Above the first share of RAM contexts are copied to files, until what is not yet copied is below the
second: so that when room is needed it is there at once."""

Moved = Callable[[Entry, Literal["swapped", "dropped"]], None]


class Parking:
    """RAM of `size` bytes, and a swap space if there is one. `moved` hears of entries that leave RAM; one that
    was dropped is nowhere any more.

    `scarce` is set when contexts should be copied to files (`dirty` says which)."""

    def __init__(self, size: int, worth: Worth, swap: SwapSpace | None, moved: Moved) -> None:
        self.extents = Extents(size)
        self.swap = swap
        self.scarce = asyncio.Event()
        self._worth, self._moved = worth, moved
        self._parked: set[Entry] = set()
        self._swapped: set[Entry] = set()

    @property
    def entries(self) -> Iterable[Entry]:
        return [*self._parked, *self._swapped]

    def room(self, entry: Entry, now: float, planned: set[Entry]) -> tuple[Extent | None, list[KvOp]]:
        """An extent for `entry`, made by giving up what is worth least, if that goes on in a file or is worth
        less than `entry`; None if that does not do. And what to do before it is used. Entries on which the plan
        counts already (`planned`) stay as they are; those that it writes to files are added to them."""
        size, mine = self._worth.size(len(entry.tokens)), self._worth.in_ram(entry, now)
        ops: list[KvOp] = []
        if size > self.extents.size:
            return None, ops
        while (extent := self.extents.allocate(size)) is None:
            victims = (each for each in self._parked if each not in planned)
            least = min(victims, key=lambda each: self._worth.in_ram(each, now), default=None)
            if least is None:
                break
            ops += self._copied(least, now, planned)
            if least.file is None and self._worth.in_ram(least, now) > mine:
                break
            self._evict(least)
        return extent, ops

    def losses(self, entries: Iterable[Entry], now: float) -> dict[Entry, float]:
        """Of each of `entries` (in slots): seconds of work for each second from now on that it is expected to
        cost if it must leave its slot. Next to nothing where RAM has room; else its way back from there and
        that of what goes for it; or computing it again, where it is itself what goes."""
        worth, free = self._worth, self.extents.size - self.extents.used
        least: Entry | None = None
        if any(worth.size(len(entry.tokens)) > free for entry in entries):
            least = min(self._parked, key=lambda each: worth.in_ram(each, now), default=None)
        return {entry: self._loss(entry, least, free, now) for entry in entries}

    def _loss(self, entry: Entry, least: Entry | None, free: int, now: float) -> float:
        worth, size = self._worth, self._worth.size(len(entry.tokens))
        if size <= free:
            return 0.0
        gap = worth.gap(entry, now)
        on_file = least is not None and (least.file or (self.swap and worth.swappable(least)))
        dropped = least is None or (not on_file and worth.in_ram(least, now) > worth.in_ram(entry, now))
        if least is None or dropped or size > self.extents.size:
            return worth.compute_s(entry) / gap
        load = worth.rates.ram.seconds(size) / gap
        return load + (worth.read_s(least) if on_file else worth.compute_s(least)) / worth.gap(least, now)

    def park(self, entry: Entry, extent: Extent) -> None:
        """`entry` will be saved into `extent`."""
        entry.extent = extent
        self._parked.add(entry)
        if self.swap and self.extents.used > HIGH * self.extents.size:
            self.scarce.set()

    def adopt(self, entry: Entry) -> None:
        """An entry whose file is there."""
        self._swapped.add(entry)

    def release(self, entry: Entry) -> None:
        """`entry` is of no use any more: its extent and its file are free."""
        self._parked.discard(entry)
        self._swapped.discard(entry)
        if entry.extent:
            self.extents.free(entry.extent)
            entry.extent = None
        self.remove(entry)

    def remove(self, entry: Entry) -> None:
        """Delete the file of `entry`."""
        if self.swap and entry.file:
            self.swap.remove(entry.file)
        entry.file = None

    # -- what should be copied ---------------------------------------------------------------------

    def dirty(self, now: float, *, all: bool = False) -> Entry | None:
        """The entry to be copied next: that which would go first, while RAM is scarce (or of `all`, that which
        would go last). None clears `scarce`."""
        fit = [e for e in self._parked if not e.file and not e.asked and self._worth.swappable(e)]
        if all:
            return max(fit, key=lambda each: self._worth.in_ram(each, now), default=None)
        held = sum(e.extent.size for e in self._parked if e.extent and not e.file)
        found = min(fit, key=lambda each: self._worth.in_ram(each, now), default=None)
        if found is None or held <= LOW * self.extents.size:
            self.scarce.clear()
            return None
        return found

    def make_file_room(self, entry: Entry, size: int, now: float, planned: Set[Entry] = frozenset()) -> bool:
        """Delete files that are worth less than one for `entry` would be, until `size` more bytes fit. Those of
        `planned` entries stay: they are to be read, or are still to be written."""
        if self.swap is None or size > self.swap.size:
            return False
        mine = self._worth.on_disk(entry, now)
        while self.swap.used + size > self.swap.size:
            files = (each for each in self.entries if each.file and each not in planned)
            least = min(files, key=lambda each: self._worth.on_disk(each, now), default=None)
            if least is None or self._worth.on_disk(least, now) >= mine:
                return False
            if least.extent:
                self.remove(least)
            else:
                self._moved(least, "dropped")
        return True

    def _copied(self, entry: Entry, now: float, planned: set[Entry]) -> list[KvOp]:
        """What to do for it to have a file, if it has none yet and can have one."""
        if entry.file or not (entry.extent and self.swap and self._worth.swappable(entry)):
            return []
        size = self._worth.size(len(entry.tokens))
        if self.make_file_room(entry, size, now, planned):
            entry.file = self.swap.reserve(size, entry.pid)
        if entry.file is None:
            return []
        planned.add(entry)
        return [SwapOut(entry.extent, entry.file)]

    def _evict(self, entry: Entry) -> None:
        """Out of RAM: into its file, if it has one."""
        if entry.file is None:
            self._moved(entry, "dropped")
            return
        self._parked.discard(entry)
        if entry.extent:
            self.extents.free(entry.extent)
            entry.extent = None
        self._swapped.add(entry)
        self._moved(entry, "swapped")
