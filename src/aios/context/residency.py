"""Where each context's KV is, and what to move when a sequence gets a slot.

The KV of a context that does not run stays in its slot until another needs the slot (*resident*); then it is
saved to the parking memory (*parked*) if it fits its byte budget, where the least recently used make room;
else it is *dropped* and computed again. A new prompt starts from the longest prefix that any context of its
privilege group has: its own conversation, or what all of them share (the system prompt), which gets an entry
of its own.

This object only plans; the core executes the plan and checks that KV fits tokens, so a plan that reality
overtook (a crash, a cancelled prefill) costs time and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from aios.context.extents import Extents
from aios.context.prefix import RadixTrie
from aios.cores.core import ContextSpec, Copy, Extent, KvOp, Load, Save, Seat, Sequence, Truncate
from aios.events import ContextMoved, EventBus

Place = Literal["resident", "parked", "dropped", ""]

MIN_REUSE = 8
"""Below so many tokens computing is as quick as copying."""
MIN_SHARED = 32
"""A shared prefix gets an entry of its own when it is so much longer than one that has."""


class Seating(Protocol):
    """Hands out a core's slots."""

    def seat(self, sequence: Sequence) -> Seat | None:
        """A free slot for `sequence` and how to prepare it; None if all are taken."""
        ...

    def leave(self, sequence: Sequence) -> None:
        """`sequence` is out of its slot."""
        ...

    def drop(self, pid: int) -> None:
        """The process is gone: forget its contexts."""
        ...

    def cached(self, sequence: Sequence) -> int:
        """How many tokens of its context would not have to be computed if it started now."""
        ...

    def place_of(self, pid: int) -> tuple[Place, int]:
        """Where the newest context of a process is, and its length in tokens."""
        ...


class PlainSeating:
    """Slots of a core that keeps no contexts: numbered places."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._free: list[int] = []

    def seat(self, sequence: Sequence) -> Seat | None:
        slot = self._free.pop() if self._free else len(self._taken)
        self._taken[sequence.id] = slot
        return Seat(slot)

    def leave(self, sequence: Sequence) -> None:
        self._free.append(self._taken.pop(sequence.id))

    def drop(self, pid: int) -> None:
        pass

    def cached(self, sequence: Sequence) -> int:
        return 0

    def place_of(self, pid: int) -> tuple[Place, int]:
        return "", 0


@dataclass(slots=True, eq=False)
class Entry:
    """KV of `tokens`, in a slot or an extent. `prompt` of them were prefilled as one prompt. `pid` 0: shared by
    its group. `sequence`: the one that computed it last; `running`: it does now."""

    id: int
    pid: int
    group: str
    tokens: list[int]
    prompt: int
    sequence: int = 0
    slot: int | None = None
    extent: Extent | None = None
    running: bool = False
    used: int = 0


class Residency:
    """Plans for one core with `slots` slots. Pure bookkeeping: no clock, no I/O."""

    def __init__(self, core: str, spec: ContextSpec, slots: int, bus: EventBus) -> None:
        self._core, self._spec, self._bus = core, spec, bus
        self._slots: list[Entry | None] = [None] * slots
        self._extents = Extents(spec.ram_bytes)
        self._tries: dict[str, RadixTrie[list[int], Entry]] = {}
        self._parked: set[Entry] = set()
        self._newest: dict[int, Entry] = {}
        self._ids = itertools.count(1)
        self._clock = itertools.count(1)

    @property
    def parked_bytes(self) -> int:
        return self._extents.used

    # -- Seating -----------------------------------------------------------------------------------

    def seat(self, sequence: Sequence) -> Seat | None:
        free = [s for s, entry in enumerate(self._slots) if entry is None or not entry.running]
        if not free:
            return None
        context = sequence.tokens + sequence.generated
        source, length = self._best(sequence, context)
        ops: list[KvOp] = []
        if source and source.slot in free and self._spent(source, length, sequence):
            slot = source.slot  # go on where it lies
            self._forget(source)
        else:
            slot = self._choose(free, source)
            if source:
                source.used = next(self._clock)
                ops = self._bring(source, length, slot, sequence, context)
            else:
                ops = self._vacate(slot, keep=None)
        self._occupy(slot, sequence, context)
        return Seat(slot, tuple(ops), length)

    def leave(self, sequence: Sequence) -> None:
        entry = next(e for e in self._slots if e and e.running and e.sequence == sequence.id)
        context = sequence.tokens + sequence.generated
        self._trie(entry.group).remove(entry.tokens, entry)
        entry.running = False
        entry.tokens = context[: sequence.kv]
        entry.used = next(self._clock)
        if entry.tokens and self._newest.get(entry.pid):
            self._trie(entry.group).insert(entry.tokens, entry)
        else:
            self._slots[self._slot_of(entry)] = None  # nothing computed, or its process is gone

    def drop(self, pid: int) -> None:
        self._newest.pop(pid, None)
        mine = [e for e in self._all() if e.pid == pid and not e.running]
        for entry in mine:
            self._forget(entry)
            self._tell(entry, "dropped")

    def cached(self, sequence: Sequence) -> int:
        return self._best(sequence, sequence.tokens + sequence.generated)[1]

    def place_of(self, pid: int) -> tuple[Place, int]:
        entry = self._newest.get(pid)
        if entry is None:
            return "", 0
        place: Place = "resident" if entry.slot is not None else "parked" if entry.extent else "dropped"
        return place, len(entry.tokens)

    def lost(self) -> None:
        """The core's worker was replaced: slots are empty. What was parked is still there."""
        for slot, entry in enumerate(self._slots):
            if entry and not entry.running:
                self._forget(entry)
                self._tell(entry, "dropped")
                self._slots[slot] = None

    # -- choosing ----------------------------------------------------------------------------------

    def _best(self, sequence: Sequence, context: list[int]) -> tuple[Entry | None, int]:
        """The entry to start from, and how many of its tokens are of use."""
        length, entries = self._trie(sequence.group).longest(context[:-1])
        if length == 0:
            return None, 0
        # Among equals its own first (its decoded part too is exactly what it would compute), then the smallest.
        entry = min(entries, key=lambda e: (e.sequence != sequence.id, len(e.tokens), -e.used))
        own = entry.sequence == sequence.id
        if not self._spec.truncatable and length < len(entry.tokens):
            return None, 0
        if self._spec.align > 1 and not own:
            length = min(length, entry.prompt)
            length -= length % self._spec.align
        return (entry, length) if length >= MIN_REUSE or own else (None, 0)

    def _spent(self, source: Entry, length: int, sequence: Sequence) -> bool:
        """Nobody else will want the rest of `source`: `sequence` may have it for good."""
        if source.running or source.pid not in (sequence.pid, 0):
            return False
        rest = len(source.tokens) - length
        return source.pid == sequence.pid and rest <= max(MIN_SHARED, len(source.tokens) // 8)

    def _choose(self, free: list[int], source: Entry | None) -> int:
        """The slot whose loss costs least: an empty one, else the least recently used, the source's last."""

        def cost(slot: int) -> tuple[bool, int]:
            entry = self._slots[slot]
            return (entry is source and entry is not None, entry.used if entry else 0)

        return min(free, key=cost)

    # -- moving ------------------------------------------------------------------------------------

    def _vacate(self, slot: int, *, keep: Entry | None) -> list[KvOp]:
        """Park what is in `slot`, or drop it; `keep` is not dropped to make room for it."""
        entry = self._slots[slot]
        if entry is None:
            return []
        self._slots[slot] = None
        entry.slot = None
        entry.extent = self._allocate(len(entry.tokens), keep=keep)
        if entry.extent is None:
            self._forget(entry)
            self._tell(entry, "dropped")
            return []
        self._parked.add(entry)
        self._tell(entry, "parked")
        return [Save(slot, entry.extent)]

    def _bring(
        self, source: Entry, length: int, slot: int, sequence: Sequence, context: list[int]
    ) -> list[KvOp]:
        """Get the first `length` tokens' KV of `source` into `slot`, after saving what is there now."""
        here, spent = source.slot == slot, self._spent(source, length, sequence)
        ops = self._vacate(slot, keep=source)
        if here:
            ops.append(Truncate(slot, length))
        elif source.slot is not None:
            ops.append(Copy(slot, source.slot, length))
        elif source.extent is not None:
            ops.append(Load(slot, source.extent, length))
        if spent:
            self._forget(source)
        elif self._worth_sharing(sequence.group, context[:length]):
            ops += self._share(slot, sequence.group, context[:length])
        return ops

    def _worth_sharing(self, group: str, tokens: list[int]) -> bool:
        shared = [e for e in self._parked if e.pid == 0 and e.group == group]
        have = max((len(e.tokens) for e in shared if e.tokens == tokens[: len(e.tokens)]), default=0)
        return len(tokens) - have >= MIN_SHARED

    def _share(self, slot: int, group: str, tokens: list[int]) -> list[KvOp]:
        """Keep what is now in `slot` as an entry of the group's own."""
        extent = self._allocate(len(tokens), keep=None)
        if extent is None:
            return []
        entry = Entry(next(self._ids), 0, group, tokens, len(tokens), extent=extent, used=next(self._clock))
        self._parked.add(entry)
        self._trie(entry.group).insert(tokens, entry)
        self._tell(entry, "shared")
        return [Save(slot, extent)]

    def _occupy(self, slot: int, sequence: Sequence, context: list[int]) -> None:
        entry = Entry(
            next(self._ids), sequence.pid, sequence.group, context, len(sequence.tokens),
            sequence=sequence.id, slot=slot, running=True, used=next(self._clock),
        )  # fmt: skip
        self._slots[slot] = entry
        self._newest[sequence.pid] = entry
        self._trie(entry.group).insert(context, entry)
        self._tell(entry, "resident")

    def _allocate(self, tokens: int, *, keep: Entry | None) -> Extent | None:
        """Room for a context, made by dropping the least recently used parked ones (but not `keep`)."""
        size = self._spec.bytes_base + tokens * self._spec.bytes_per_token
        if size > self._extents.size:
            return None
        while (extent := self._extents.allocate(size)) is None:
            oldest = min((e for e in self._parked if e is not keep), key=lambda e: e.used, default=None)
            if oldest is None:
                return None
            self._forget(oldest)
            self._tell(oldest, "dropped")
        return extent

    def _forget(self, entry: Entry) -> None:
        """Take an entry out of everything; its bytes and its slot are free."""
        self._trie(entry.group).remove(entry.tokens, entry)
        self._parked.discard(entry)
        if entry.extent:
            self._extents.free(entry.extent)
            entry.extent = None
        if entry.slot is not None:
            self._slots[entry.slot] = None
            entry.slot = None

    # -- small -------------------------------------------------------------------------------------

    def _all(self) -> Iterable[Entry]:
        return [*(e for e in self._slots if e), *self._parked]

    def _trie(self, group: str) -> RadixTrie[list[int], Entry]:
        return self._tries.setdefault(group, RadixTrie[list[int], Entry]([]))

    def _slot_of(self, entry: Entry) -> int:
        slot = entry.slot
        assert slot is not None  # a running entry always has one
        return slot

    def _tell(self, entry: Entry, where: Literal["resident", "parked", "swapped", "dropped", "shared"]) -> None:
        size = self._spec.bytes_base + len(entry.tokens) * self._spec.bytes_per_token
        self._bus.publish(
            ContextMoved(pid=entry.pid, context=entry.id, where=where, tokens=len(entry.tokens), bytes=size)
        )
