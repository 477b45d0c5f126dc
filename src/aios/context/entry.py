"""One stretch of KV that a core has somewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from aios.context.life import Life
from aios.context.seating import Place
from aios.cores.core import Extent
from aios.syscalls import ContextState


@dataclass(slots=True, eq=False)
class Entry:
    """KV of `tokens` (`packed`), in a slot, in an extent of the parking memory, or in a file. `prompt` of them
    were prefilled as one prompt. `pid` 0: shared by its group. `sequence`: the one that computed it last;
    `running`: it does now. `used`: a count of uses, greater is newer; `since`: clock time of the last one.

    With both `extent` and `file` it is *clean*: the extent can be given up at once. `spent`: a file from which
    it was read, and which may go when it left its slot. `asked`: a copy is being made, or can't be.
    `life`: of the context, which goes on in another entry when it is continued."""

    id: int
    pid: int
    group: str
    tokens: str
    prompt: int
    sequence: int = 0
    slot: int | None = None
    extent: Extent | None = None
    file: Path | None = None
    spent: Path | None = None
    running: bool = False
    asked: bool = False
    used: int = 0
    since: float = 0.0
    life: Life = field(default_factory=Life)

    @property
    def place(self) -> Place:
        if self.slot is not None:
            return "resident"
        return "parked" if self.extent else "swapped" if self.file else "dropped"

    def state(self, core: str, size: int, now: float) -> ContextState:
        """As it is told of, on `core`, with `size` bytes."""
        life = self.life
        return ContextState(
            context=self.id, core=core, place=self.place or "dropped", tokens=len(self.tokens), bytes=size,
            copied=self.file is not None, idle_s=0.0 if self.running else now - self.since,
            computed=life.computed, from_slot=life.from_slot, from_ram=life.from_ram,
            from_disk=life.from_disk, restores=life.restores, restore_s=life.restore_s,
        )  # fmt: skip
