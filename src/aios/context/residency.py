"""Where each context's KV is, and what to move when a sequence gets a slot.

The KV of a context that does not run stays in its slot until another needs the slot (*resident*); then it is
saved to the parking memory (*parked*), where what is worth least makes room: it goes on in a file (*swapped*)
if it was copied to one, else it is *dropped* and computed again. A new prompt starts from the longest prefix
that any context of its privilege group has: its own conversation, or what all of them share (the system
prompt), which gets an entry of its own.

This object only plans; the core executes the plan and checks that KV fits tokens, so a plan that reality
overtook (a crash, a cancelled prefill, a damaged file) costs time and nothing else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from aios.config import Eviction
from aios.context.entry import Entry
from aios.context.life import Life
from aios.context.packed import packed
from aios.context.parking import Parking
from aios.context.prefix import shared_length
from aios.context.seating import Place
from aios.context.stored import MIN_SHARED, Stored
from aios.context.swap import Label, SwapSpace
from aios.context.worth import Gaps, Worth
from aios.cores.core import ContextSpec, Copy, KvOp, Load, Read, Save, Seat, Sequence, SwapIn, Truncate
from aios.events import ContextMoved, EventBus
from aios.syscalls import ContextState, ContextStats

MIN_REUSE = 8
"""Below so many tokens computing is as quick as copying."""
MOST_ALIKE = 64
"""Of contexts that share the longest prefix so many are looked at."""


class Residency:
    """Plans for one core with `slots` slots: pure bookkeeping. `share`: processes of a group start from each
    other's contexts. `now`: the clock, in seconds."""

    def __init__(
        self,
        spec: ContextSpec,
        slots: int,
        bus: EventBus,
        *,
        swap: SwapSpace | None = None,
        eviction: Eviction = "waste",
        share: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._bus, self._now = spec, bus, now
        self._slots: list[Entry | None] = [None] * slots
        self._gaps = Gaps()
        self.worth = Worth(spec, self._gaps, eviction)
        self.parking = Parking(spec.ram_bytes, self.worth, swap, self._left_ram)
        self.stored = Stored(share=share)
        self._of: dict[int, set[Entry]] = {}
        """Entries by process; 0: those that groups share."""
        self._newest: dict[int, Entry] = {}
        self._lives: dict[int, Life] = {}
        """Of all contexts of a process together."""
        self._ids = itertools.count(1)
        self._uses = itertools.count(1)

    # -- Seating -----------------------------------------------------------------------------------

    def enter(self, sequence: Sequence) -> None:
        self._gaps.came(sequence.pid, self._now())

    def exit(self, sequence: Sequence) -> None:
        self._gaps.went(sequence.pid, self._now())

    def seat(self, sequence: Sequence) -> Seat | None:
        free = [s for s, entry in enumerate(self._slots) if entry is None or not entry.running]
        if len(free) < sequence.width:
            return None
        seats: list[Seat] = []
        planned: set[Entry] = set()
        contexts = sequence.contexts
        for i in range(sequence.width):
            context = packed(contexts[i]) if i < len(contexts) else ""
            seats.append(self._seat(sequence, context, free, planned))
            free.remove(seats[-1].slot)
        return msgspec.structs.replace(seats[0], others=tuple(seats[1:])) if len(seats) > 1 else seats[0]

    def leave(self, sequence: Sequence) -> None:
        for entry in [e for e in self._slots if e and e.running and e.sequence == sequence.id]:
            if entry.tokens:
                self.stored.remove(entry)
            entry.running = False
            entry.tokens = packed(sequence.context_in(self._slot_of(entry))[: sequence.kv])
            self._use(entry)
            if entry.spent and self.parking.swap:
                self.parking.swap.remove(entry.spent)
                entry.spent = None
            if entry.tokens and self._newest.get(entry.pid):
                self.stored.insert(entry)
            else:  # nothing computed, or its process is gone
                self._slots[self._slot_of(entry)] = None
                self._unlist(entry)

    def drop(self, pid: int) -> None:
        self._newest.pop(pid, None)
        self._lives.pop(pid, None)
        self._gaps.forget(pid)
        for entry in [e for e in self._of.get(pid, ()) if not e.running]:
            self._forget(entry)
            self._tell(entry, "dropped")

    def cached(self, sequence: Sequence) -> int:
        return self._best(sequence, packed(sequence.tokens + sequence.generated))[1]

    def dropped(self, sequence: Sequence) -> int:
        newest = self._newest.get(sequence.pid)
        if newest is None or newest.place != "dropped":
            return 0
        had = shared_length(newest.tokens, packed(sequence.tokens + sequence.generated), 0)
        return max(0, had - self.cached(sequence))

    def place_of(self, pid: int) -> tuple[Place, int]:
        entry = self._newest.get(pid)
        if entry is None:
            return "", 0
        return entry.place, len(entry.tokens)

    def stats(self, pid: int) -> ContextStats:
        mine = self._of.get(pid, ())
        size = sum(self.worth.size(len(e.tokens)) for e in mine)
        life = self._lives.get(pid) or Life()
        return ContextStats(
            computed=life.computed, from_slot=life.from_slot, from_ram=life.from_ram, from_disk=life.from_disk,
            contexts=len(mine), bytes=size, mean_gap_s=self._gaps.mean(pid),
        )  # fmt: skip

    def contexts(self, pid: int, core: str) -> list[ContextState]:
        now = self._now()
        mine = sorted(self._of.get(pid, ()), key=lambda e: -e.used)
        return [e.state(core, self.worth.size(len(e.tokens)), now) for e in mine]

    def declare(self, pid: int, seconds: float) -> None:
        self._gaps.declare(pid, seconds, self._now())

    def took(self, sequence: int, read: Read) -> None:
        """The core brought KV back into the slot of `sequence`."""
        self.worth.rates.saw(disk=read.disk, size=read.size, seconds=read.seconds)
        for entry in [e for e in self._slots if e and e.sequence == sequence][:1]:
            entry.life.restore_s += read.seconds

    def adopt(self, path: Path, label: Label, life: Life | None = None) -> None:
        """A file that an earlier kernel left, or another core, which knows what became of the context."""
        entry = Entry(
            next(self._ids), label.pid, label.group, packed(label.tokens), label.prompt,
            file=path, since=self._now(), life=life or Life(),
        )  # fmt: skip
        self._use(entry)
        self._list(entry)
        self.parking.adopt(entry)
        self.stored.insert(entry)
        if entry.pid:
            self._newest[entry.pid] = entry
        self._tell(entry, "swapped")

    def newest(self, pid: int) -> Entry | None:
        """Of the contexts of a process, if it does not run."""
        entry = self._newest.get(pid)
        return entry if entry and not entry.running and entry.place != "dropped" else None

    def give_up(self, entry: Entry) -> None:
        """`entry` is now another core's, and its file with it."""
        self._forget(entry)
        if self._newest.get(entry.pid) is entry:
            del self._newest[entry.pid]

    def discard(self, path: Path) -> None:
        """The file is not what was written: nobody starts from it any more."""
        for entry in [e for e in self.parking.entries if e.file == path]:
            if entry.extent:
                self.parking.remove(entry)
            else:
                self._left_ram(entry, "dropped")

    def park(self, entry: Entry) -> list[KvOp]:
        """Save what is idle in a slot: what to do for it."""
        return [] if entry.slot is None or entry.running else self._vacate(entry.slot, set())

    def park_all(self) -> list[KvOp]:
        """The same for all, as far as there is room."""
        idle = [slot for slot, entry in enumerate(self._slots) if entry and not entry.running]
        planned: set[Entry] = set()
        return [op for slot in idle for op in self._vacate(slot, planned)]

    def lost(self) -> None:
        """The core's worker was replaced: slots are empty. What was parked is still there."""
        for slot, entry in enumerate(self._slots):
            if entry and not entry.running:
                self._forget(entry)
                self._tell(entry, "dropped")
                self._slots[slot] = None

    def _seat(self, sequence: Sequence, context: str, free: list[int], planned: set[Entry]) -> Seat:
        """One of `free` for a context of `sequence`; an empty one is a slot that it will fill itself.
        `planned`: entries on which what was planned with it counts."""
        source, length = self._best(sequence, context) if context else (None, 0)
        ops: list[KvOp] = []
        file: Path | None = None
        life, place = self._life(sequence, context, source, length), source.place if source else ""
        if source and source.slot in free and self._spent(source, length, sequence):
            slot = source.slot  # go on where it lies
            self._forget(source)
        else:
            slot = self._choose(free, source)
            if source:
                self._use(source)
                planned.add(source)
                ops, file = self._bring(source, length, slot, sequence, context, planned)
            else:
                ops = self._vacate(slot, planned)
        for each in (life, self._lives.setdefault(sequence.pid, Life())):
            if source:
                each.found(place, length)
            each.found("dropped", len(context) - length)
        self._occupy(slot, sequence, context, file, life)
        return Seat(slot, tuple(ops), length)

    # -- choosing ----------------------------------------------------------------------------------

    def _best(self, sequence: Sequence, context: str) -> tuple[Entry | None, int]:
        """The entry to start from, and how many of its tokens are of use."""
        length, entries = self.stored.longest(sequence.group, sequence.pid, context[:-1])
        if length == 0:
            return None, 0
        # Its own first (its decoded part too is exactly what it would compute), then the smallest of some:
        # thousands may begin alike.
        own_ones = [e for e in self._of.get(sequence.pid, ()) if e.sequence == sequence.id]
        entries = [e for e in own_ones if e.tokens.startswith(context[:length])] or islice(entries, MOST_ALIKE)
        entry = min(entries, key=lambda e: (len(e.tokens), -e.used))
        usable = self.usable(entry, length, own=entry.sequence == sequence.id)
        return (entry, usable) if usable else (None, 0)

    def usable(self, entry: Entry, length: int, *, own: bool) -> int:
        """Of the `length` first tokens of `entry`, which a sequence has too; `own`: which it computed."""
        if not self._spec.truncatable and length < len(entry.tokens):
            return 0
        if self._spec.align > 1 and not own:
            length = min(length, entry.prompt)
            length -= length % self._spec.align
        return length if length >= MIN_REUSE or own else 0

    def _spent(self, source: Entry, length: int, sequence: Sequence) -> bool:
        """Nobody else will want the rest of `source`: `sequence` may have it for good."""
        if source.running or source.pid not in (sequence.pid, 0):
            return False
        return source.pid == sequence.pid and _goes_on(source, length)

    def _life(self, sequence: Sequence, context: str, source: Entry | None, length: int) -> Life:
        """That of the context which goes on as `context`, also where its KV was dropped; else a new one."""
        if source and self._spent(source, length, sequence):
            return source.life
        newest = self._newest.get(sequence.pid)
        if newest and newest.place == "dropped" and _goes_on(newest, shared_length(newest.tokens, context, 0)):
            return newest.life
        return Life()

    def _choose(self, free: list[int], source: Entry | None) -> int:
        """The slot whose loss costs least: an empty one, else that of whom it is expected to cost least to get
        back, the source's last."""
        now = self._now()
        losses = self.parking.losses([entry for slot in free if (entry := self._slots[slot])], now)

        def cost(slot: int) -> tuple[bool, bool, float, float, int]:
            entry = self._slots[slot]
            if entry is None:
                return False, False, 0.0, 0.0, 0
            return entry is source, True, losses[entry], -self.worth.gap(entry, now), entry.used

        return min(free, key=cost)

    # -- moving ------------------------------------------------------------------------------------

    def _vacate(self, slot: int, planned: set[Entry]) -> list[KvOp]:
        """Park what is in `slot`, or drop it; what is `planned` does not make room for it."""
        entry = self._slots[slot]
        if entry is None:
            return []
        self._slots[slot] = None
        entry.slot = None
        extent, ops = self.parking.room(entry, self._now(), planned)
        if extent is None:
            self._left_ram(entry, "dropped")
            return ops
        self.parking.park(entry, extent)
        self._tell(entry, "parked")
        return [*ops, Save(slot, extent)]

    def _bring(
        self, source: Entry, length: int, slot: int, sequence: Sequence, context: str, planned: set[Entry]
    ) -> tuple[list[KvOp], Path | None]:
        """Get the first `length` tokens' KV of `source` into `slot`, after saving what is there now. And
        a file that is of no use once it was read."""
        file: Path | None = None
        here, spent = source.slot == slot, self._spent(source, length, sequence)
        ops = self._vacate(slot, planned)
        if here:
            ops.append(Truncate(slot, length))
        elif source.slot is not None:
            ops.append(Copy(slot, source.slot, length))
        elif source.extent is not None:
            ops.append(Load(slot, source.extent, length))
        elif source.file is not None:
            ops.append(SwapIn(slot, source.file, length))
            if spent:
                file, source.file = source.file, None
        if spent:
            self._forget(source)
        elif self.stored.should_share(sequence.group, context[:length]):
            ops += self._share(slot, sequence.group, context[:length], planned)
        return ops, file

    def _share(self, slot: int, group: str, tokens: str, planned: set[Entry]) -> list[KvOp]:
        """Keep what is now in `slot` as an entry of the group's own."""
        entry = Entry(next(self._ids), 0, group, tokens, len(tokens))
        self._use(entry)
        extent, ops = self.parking.room(entry, self._now(), planned)
        if extent is None:
            return ops
        self._list(entry)
        self.parking.park(entry, extent)
        self.stored.insert(entry)
        self._tell(entry, "shared")
        return [*ops, Save(slot, extent)]

    def _occupy(self, slot: int, sequence: Sequence, context: str, file: Path | None, life: Life) -> None:
        entry = Entry(
            next(self._ids), sequence.pid, sequence.group, context, len(sequence.tokens),
            sequence=sequence.id, slot=slot, running=True, spent=file, life=life,
        )  # fmt: skip
        self._use(entry)
        self._list(entry)
        self._slots[slot] = entry
        if context:
            self._newest[sequence.pid] = entry
            self.stored.insert(entry)
            self._tell(entry, "resident")

    def _left_ram(self, entry: Entry, where: Literal["swapped", "dropped"]) -> None:
        if where == "dropped":
            self._forget(entry)
        self._tell(entry, where)

    def _forget(self, entry: Entry) -> None:
        """Take an entry out of everything; its bytes and its slot are free."""
        self.stored.remove(entry)
        self._unlist(entry)
        self.parking.release(entry)
        if entry.slot is not None:
            self._slots[entry.slot] = None
            entry.slot = None

    # -- small -------------------------------------------------------------------------------------

    def _list(self, entry: Entry) -> None:
        self._of.setdefault(entry.pid, set()).add(entry)

    def _unlist(self, entry: Entry) -> None:
        mine = self._of.get(entry.pid, set())
        mine.discard(entry)
        if not mine:
            self._of.pop(entry.pid, None)

    def _use(self, entry: Entry) -> None:
        entry.used, entry.since = next(self._uses), self._now()

    def _slot_of(self, entry: Entry) -> int:
        slot = entry.slot
        assert slot is not None  # a running entry always has one
        return slot

    def _tell(self, entry: Entry, where: Literal["resident", "parked", "swapped", "dropped", "shared"]) -> None:
        self._bus.publish(
            ContextMoved(
                pid=entry.pid, context=entry.id, where=where, tokens=len(entry.tokens),
                bytes=self.worth.size(len(entry.tokens)),
            )
        )  # fmt: skip


def _goes_on(entry: Entry, length: int) -> bool:
    """What has its first `length` tokens is the same conversation, with at most its end written anew."""
    return len(entry.tokens) - length <= max(MIN_SHARED, len(entry.tokens) // 8)
