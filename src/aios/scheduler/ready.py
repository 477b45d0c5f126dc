"""The ready queue that policies stand on."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from aios.scheduler.policy import Item


class ReadyQueue:
    """Items in the order of their keys, equals in the order in which they came; one can leave from the middle.
    All operations take O(log n) amortised, a `pop` that skips k items O(k log n)."""

    def __init__(self) -> None:
        self._heap: list[tuple[Any, int, Item]] = []
        self._place: dict[Item, int] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, item: Item) -> bool:
        return item in self._place

    def __iter__(self) -> Iterator[Item]:
        """In no particular order."""
        return iter(self._place)

    def push(self, item: Item, key: Any) -> None:
        """Add `item`, or move it if it is there."""
        number = self._place[item] = next(self._count)
        heapq.heappush(self._heap, (key, number, item))

    def discard(self, item: Item) -> bool:
        """Take `item` out; whether it was there."""
        return self._place.pop(item, None) is not None

    def first(self) -> Item | None:
        """The item with the least key, which stays."""
        while self._heap and self._place.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)  # it left, or moved
        return self._heap[0][2] if self._heap else None

    def pop(self, fits: Callable[[Item], bool]) -> Item | None:
        """Take out the item with the least key among those that fit."""
        skipped: list[tuple[Any, int, Item]] = []
        found: Item | None = None
        while (item := self.first()) is not None:
            entry = heapq.heappop(self._heap)
            if fits(item):
                del self._place[item]
                found = item
                break
            skipped.append(entry)
        for entry in skipped:
            heapq.heappush(self._heap, entry)
        return found
