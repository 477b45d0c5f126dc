"""Static priorities with aging."""

from __future__ import annotations

from collections.abc import Iterable

from aios.scheduler.keyed import KeyedPolicy
from aios.scheduler.policy import Item, class_rank

CLASS_STEPS = 40
"""More than the whole range of `nice`: a class weighs more than it."""


class Priority(KeyedPolicy):
    """The most urgent first: by class, then `priority` and `nice`; waiting raises an item by one step every
    `aging_s` seconds, so that everybody's turn comes (aging: Silberschatz, Galvin & Gagne, Operating System
    Concepts, section 5.3.4). At the end of its quantum a running item leaves for one at least as urgent.

    Items that wait age alike, so their order never changes: the key is the time at which an item of step 0
    would have had to come to be an equal."""

    name = "priority"

    def __init__(self, *, quantum: int = 64, aging_s: float = 5.0) -> None:
        super().__init__(quantum=quantum)
        self._aging_s = aging_s

    def key(self, item: Item) -> float:
        return self._at(item, item.queued)

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        best = self._ready.first()
        if best is None:
            return []
        # Whoever runs does not age: it counts as if it had come just now.
        due = [item for item in self._due(running) if self.key(best) <= self._at(item, now)]
        due.sort(key=lambda item: (-self._at(item, now), item.id))
        return due[: len(self)]

    def _at(self, item: Item, time: float) -> float:
        ahead = item.priority - item.nice - CLASS_STEPS * class_rank(item)
        return time - self._aging_s * ahead
