"""The ready queue that policies stand on."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from aios.scheduler.policy import Item

SLACK = 64
"""Entries of items that left or moved that may stay, besides as many as there are items."""


class ReadyQueue:
    """Items in the order of their keys, equals in the order in which they came; one can leave from the middle.
    All operations take O(log n) amortised, a `head` of k items or a `pop` that skips k O(k log n); where keys
    come in order, as they do where the longest wait decides, O(1) and O(k)."""

    def __init__(self) -> None:
        self._line: deque[tuple[Any, int, Item]] = deque()
        """Entries that came in order. The others are in the heap."""
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
        if len(self._line) + len(self._heap) > 2 * len(self._place) + SLACK:
            self._compact()
        entry = (key, number, item)
        if not self._line or self._line[-1] < entry:
            self._line.append(entry)
        else:
            heapq.heappush(self._heap, entry)

    def discard(self, item: Item) -> bool:
        """Take `item` out; whether it was there."""
        return self._place.pop(item, None) is not None

    def first(self) -> Item | None:
        """The item with the least key, which stays."""
        entry = self._least()
        return None if entry is None else entry[2]

    def head(self, count: int) -> list[Item]:
        """The first `count` items, which stay."""
        entries = list(islice(iter(self._pull, None), count))
        self._line.extendleft(reversed(entries))  # less than all that are left
        return [item for _, _, item in entries]

    def pop(self, fits: Callable[[Item], bool]) -> Item | None:
        """Take out the item with the least key among those that fit."""
        skipped: list[tuple[Any, int, Item]] = []
        while (entry := self._pull()) is not None and not fits(entry[2]):
            skipped.append(entry)
        if skipped:
            self._line.extendleft(reversed(skipped))  # less than all that are left
        if entry is None:
            return None
        del self._place[entry[2]]
        return entry[2]

    def _pull(self) -> tuple[Any, int, Item] | None:
        """The first entry, out of the queue; its item keeps its place."""
        entry = self._least()
        if entry is not None:
            if self._line and self._line[0] is entry:
                self._line.popleft()
            else:
                heapq.heappop(self._heap)
        return entry

    def _compact(self) -> None:
        """Let go of entries whose item left or moved."""
        place = self._place
        self._line = deque(entry for entry in self._line if place.get(entry[2]) == entry[1])
        self._heap = [entry for entry in self._heap if place.get(entry[2]) == entry[1]]
        heapq.heapify(self._heap)

    def _least(self) -> tuple[Any, int, Item] | None:
        """The first entry, once those whose item left or moved are out of the way."""
        line, heap, place = self._line, self._heap, self._place
        while line and place.get(line[0][2]) != line[0][1]:
            line.popleft()
        while heap and place.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        if heap and (not line or heap[0] < line[0]):
            return heap[0]
        return line[0] if line else None
