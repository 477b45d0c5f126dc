"""First in, first out: the baseline every other policy is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aios.scheduler.policy import Item


class Fifo:
    """Runs items in the order in which they became ready, each to its end (AIOS paper, section 3.3)."""

    name = "fifo"

    def __init__(self, *, quantum: int = 0) -> None:
        # An insertion-ordered dict is a queue from whose middle one can withdraw in constant time.
        self._ready: dict[Item, None] = {}

    def enqueue(self, item: Item, now: float) -> None:
        self._ready[item] = None

    def withdraw(self, item: Item) -> None:
        self._ready.pop(item, None)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        for item in self._ready:
            if fits(item):
                del self._ready[item]
                return item
        return None

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        return []

    def charge(self, item: Item, tokens: int, now: float) -> None:
        pass

    def __len__(self) -> int:
        return len(self._ready)
