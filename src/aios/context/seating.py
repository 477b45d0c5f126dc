"""Who hands out a core's slots."""

from __future__ import annotations

from typing import Literal, Protocol

from aios.cores.core import Seat, Sequence
from aios.syscalls import ContextStats

Place = Literal["resident", "parked", "swapped", "dropped", ""]


class Seating(Protocol):
    """Hands out a core's slots. A call's sequence `enter`s, gets a seat and leaves it any number of times, and
    `exit`s."""

    def enter(self, sequence: Sequence) -> None:
        """The call of `sequence` came: it will want a slot."""
        ...

    def exit(self, sequence: Sequence) -> None:
        """The call of `sequence` is over."""
        ...

    def declare(self, pid: int, seconds: float) -> None:
        """The process is expected to stay away so long before its next call."""
        ...

    def seat(self, sequence: Sequence) -> Seat | None:
        """A free slot for `sequence` and how to prepare it; None if all are taken."""
        ...

    def leave(self, sequence: Sequence) -> None:
        """`sequence` is out of its slot."""
        ...

    def drop(self, pid: int) -> None:
        """The process is gone: forget its contexts."""
        ...

    def lost(self) -> None:
        """What was in the slots is gone."""
        ...

    def cached(self, sequence: Sequence) -> int:
        """How many tokens of its context would not have to be computed if it started now."""
        ...

    def dropped(self, sequence: Sequence) -> int:
        """How many tokens of its context had their KV kept, until it had to make room."""
        ...

    def place_of(self, pid: int) -> tuple[Place, int]:
        """Where the newest context of a process is, and its length in tokens."""
        ...

    def stats(self, pid: int) -> ContextStats:
        """What became of the contexts of a process."""
        ...


class PlainSeating:
    """Slots of a core that keeps no contexts: numbered places."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._free: list[int] = []

    def enter(self, sequence: Sequence) -> None:
        pass

    def exit(self, sequence: Sequence) -> None:
        pass

    def declare(self, pid: int, seconds: float) -> None:
        pass

    def seat(self, sequence: Sequence) -> Seat | None:
        slot = self._free.pop() if self._free else len(self._taken)
        self._taken[sequence.id] = slot
        return Seat(slot)

    def leave(self, sequence: Sequence) -> None:
        self._free.append(self._taken.pop(sequence.id))

    def drop(self, pid: int) -> None:
        pass

    def lost(self) -> None:
        pass

    def cached(self, sequence: Sequence) -> int:
        return 0

    def dropped(self, sequence: Sequence) -> int:
        return 0

    def place_of(self, pid: int) -> tuple[Place, int]:
        return "", 0

    def stats(self, pid: int) -> ContextStats:
        return ContextStats()
