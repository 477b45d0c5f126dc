"""Ready queues of groups, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aios.scheduler.counters import Counters, Turns
from aios.scheduler.policy import Item
from aios.scheduler.ready import ReadyQueue


class GroupQueues:
    """Items that wait, each in the queue of its group, where the least key is first; of the groups the one with
    the least of `counters`, in which it must be active. All of it takes O(log n) amortised; a `pop` that skips
    k items or groups, and a `head` of k, O(k log n)."""

    def __init__(self, counters: Counters) -> None:
        self._turns = Turns(counters)
        self.groups: dict[str, ReadyQueue] = {}
        """Of those in which somebody waits."""

    def push(self, item: Item, key: object) -> None:
        """Add `item`, or move it if it is there."""
        group = item.group
        queue = self.groups.get(group)
        if queue is None:
            queue = self.groups[group] = ReadyQueue()
            self._turns.add(group)
        queue.push(item, key)

    def discard(self, item: Item) -> None:
        """Take `item` out, if it is there."""
        queue = self.groups.get(item.group)
        if queue is not None and queue.discard(item) and not queue:
            self._end(item.group)

    def pop(self, fits: Callable[[Item], bool]) -> Item | None:
        """Take out the first item that fits."""
        groups = self.groups
        item = self._turns.find(lambda group: groups[group].pop(fits))
        if item is not None and not groups[item.group]:
            self._end(item.group)
        return item

    def head(self, count: int) -> Iterator[Item]:
        """The first `count` items, which stay: all of a group before the next."""
        for group in self.first(count):
            items = self.groups[group].head(count)
            count -= len(items)
            yield from items

    def first(self, count: int) -> list[str]:
        """The first `count` groups."""
        return self._turns.first(count)

    def _end(self, group: str) -> None:
        """Nobody of the group waits any more."""
        del self.groups[group]
        self._turns.discard(group)
