"""The contexts of one core: planned by the residency, copied by the swapper, found again after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aios.config import ContextSettings
from aios.context.packed import packed
from aios.context.prefix import shared_length
from aios.context.residency import Residency
from aios.context.seating import PlainSeating, Seating
from aios.context.swap import SlabStore, SwapSpace
from aios.context.swapper import Swapper
from aios.cores.core import ContextKeeper, Core, Sequence
from aios.errors import CoreError, StorageUnavailable
from aios.events import EventBus, StoreDamaged

PATIENCE_S = 10.0
"""How long copying contexts may hold up a shutdown."""


class Swapping:
    """The parts of a core whose contexts can be in files."""

    def __init__(self, residency: Residency, keeper: ContextKeeper, space: SwapSpace) -> None:
        self.residency, self.keeper, self.space = residency, keeper, space
        self.swapper = Swapper(keeper, residency.parking, space, residency.worth)

    async def find(self, alive: Callable[[int], bool]) -> None:
        """Take over what an earlier kernel left of processes that are still there."""
        for path, label in await self.space.find(self.keeper.fingerprint):
            if alive(label.pid) if label.pid else self.residency.stored.share:
                self.residency.adopt(path, label)
            else:
                self.space.remove(path)

    async def save_all(self, patience_s: float) -> None:
        """Copy what there is to files, as far as room and time allow."""
        with suppress(CoreError):  # a core that is gone has empty slots; what was parked is there
            await self.keeper.move(self.residency.park_all())
        await self.swapper.copy_all(patience_s)

    def portable(self, sequence: Sequence) -> tuple[int, float]:
        entry = self.residency.newest(sequence.pid)
        if entry is None or entry.group != sequence.group or (entry.file is None and entry.asked):
            return 0, 0.0
        length = shared_length(entry.tokens, packed(sequence.tokens + sequence.generated)[:-1], 0)
        return self.residency.usable(entry, length, own=False), self.residency.worth.move_s(entry)

    async def send(self, pid: int, other: Swapping) -> bool:
        """Move the newest context of a process. False if it runs, there is no room for it, or a core failed."""
        entry = self.residency.newest(pid)
        if entry is None or other.keeper.fingerprint != self.keeper.fingerprint:
            return False
        if entry.slot is not None:
            try:
                await self.keeper.move(self.residency.park(entry))
            except CoreError:
                return False
        if entry.file is None and (entry.asked or not await self.swapper.copy(entry)):
            return False  # or somebody else copies it: two files of one context would be one too many
        if entry.file is None or entry.running:
            return False  # it was wanted meanwhile
        path, label, life = entry.file, self.swapper.label(entry), entry.life
        try:
            if not await other.space.take(path, label):
                return False
        except StorageUnavailable:
            return False
        if entry.file != path or entry.running:
            other.space.give(path)  # it was wanted meanwhile
            return False
        self.space.give(path)
        entry.file = None
        self.residency.give_up(entry)
        other.residency.adopt(path, label, life)
        return True


class ContextManager:
    """`store`: of the swapped contexts; None: they live in RAM only. `alive(pid)`: whether the process whose
    contexts an earlier kernel left is still there. `whose(pid)`: the agent that a process is of."""

    def __init__(
        self,
        core: Core,
        bus: EventBus,
        settings: ContextSettings,
        *,
        store: SlabStore | None = None,
        alive: Callable[[int], bool] = lambda pid: False,
        whose: Callable[[int], str] = lambda pid: "",
    ) -> None:
        self.seating: Seating = PlainSeating()
        self._core, self._bus, self._settings = core, bus, settings
        self._store, self._alive, self._whose = store, alive, whose
        self._residency: Residency | None = None
        self._keeper: ContextKeeper | None = None
        self._swapping: Swapping | None = None
        self._task: asyncio.Task[None] | None = None
        self._epoch = 0

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """The core is up: learn what it can do, and find what an earlier kernel left."""
        spec = self._core.capabilities.contexts
        if spec is None:
            return
        room = int(self._settings.swap_mb * 2**20)
        space = None
        if self._store and room and spec.keeper:
            space = SwapSpace(self._store, self._core.name, room, self._whose)
        settings = self._settings
        residency = Residency(
            spec, self._core.capacity, self._bus, swap=space, eviction=settings.eviction,
            share=settings.share_prefixes,
        )  # fmt: skip
        self.seating = self._residency = residency
        self._keeper = spec.keeper
        if space and spec.keeper:
            self._swapping = Swapping(residency, spec.keeper, space)
            await self._swapping.find(self._alive)
            self._task = tasks.create_task(self._swapping.swapper.run(), name=f"swap of {self._core.name}")

    async def close(self) -> None:
        """Copy what there is to files, for the next start. The core must still be up, with idle slots."""
        if self._task and self._swapping:
            self._task.cancel()
            await asyncio.wait([self._task])
            self.check()
            await self._swapping.save_all(PATIENCE_S)

    def check(self) -> None:
        """Has the core lost its slots, or found a swapped context that can't be used? And what did reading
        take?"""
        if self._core.epoch != self._epoch:
            self._epoch = self._core.epoch
            self.seating.lost()
        if self._keeper and self._residency:
            for sequence, read in self._keeper.reads():
                self._residency.took(sequence, read)
            for path, why in self._keeper.damaged():
                self._residency.discard(path)
                self._bus.publish(StoreDamaged(name=path.name, reason=why))

    def portable(self, sequence: Sequence) -> tuple[int, float]:
        """How many tokens of its context would not have to be computed on a core to which that of its process
        was moved from here, and how many seconds moving it takes, about."""
        return self._swapping.portable(sequence) if self._swapping else (0, 0.0)

    async def send(self, pid: int, other: ContextManager) -> bool:
        """Move the newest context of a process to another core of the same model, as a file. False if that is
        not possible."""
        if self._swapping is None or other._swapping is None:
            return False
        return await self._swapping.send(pid, other._swapping)
