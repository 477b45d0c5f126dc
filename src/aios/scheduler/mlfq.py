"""Multi-level feedback queue with skip-join."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aios.scheduler.policy import Item
from aios.scheduler.ready import ReadyQueue


class SkipJoinMlfq:
    """Levels whose quantum doubles: level k allows `quantum * 2**k` tokens of work. An item joins the first
    level whose quantum covers its uncached prefill (skip-join: a long prompt does not pass the levels above it
    only to be demoted in each), goes down one level when it used a quantum up, and up to the first after
    waiting `starve_s` (FastServe: Wu et al. 2023, section 4.1, algorithm 1) or when it is raised. A waiting
    item of a higher level displaces running ones of lower levels.

    Raises ValueError for fewer than one level."""

    name = "mlfq"

    def __init__(self, *, quantum: int = 64, levels: int = 8, starve_s: float = 30.0) -> None:
        if levels < 1:
            raise ValueError("levels must be at least 1")
        self._quanta = [max(1, quantum) << level for level in range(levels)]
        self._starve_s = starve_s
        self._queues = [ReadyQueue() for _ in range(levels)]
        self._level: dict[Item, int] = {}
        self._used: dict[Item, int] = {}

    def enqueue(self, item: Item, now: float) -> None:
        level = self._level.setdefault(item, self._join(item))
        if item.raised and level:
            self._promote(item)
        else:
            self._queues[level].push(item, item.queued)

    def withdraw(self, item: Item) -> None:
        for queue in self._queues:
            queue.discard(item)
        self._forget(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        self._promote_starving(now)
        for queue in self._queues:
            if item := queue.pop(fits):
                return item
        return None

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        self._promote_starving(now)
        waiting = [level for level, queue in enumerate(self._queues) for _ in queue]
        lowest = sorted(running, key=lambda item: (-self._standing(item), -item.quantum_used, item.id))
        due: list[Item] = []
        for item, level in zip(lowest, waiting, strict=False):
            spent = self._used.get(item, 0) >= self._quanta[self._level.get(item, 0)]
            if level < self._standing(item) or (spent and level == self._standing(item)):
                due.append(item)
        return due

    def charge(self, item: Item, tokens: int, now: float) -> None:
        self._used[item] = self._used.get(item, 0) + tokens

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        if ended:
            self._forget(item)
        elif self._used.get(item, 0) >= self._quanta[self._level.get(item, 0)]:
            self._level[item] = self._standing(item)
            self._used[item] = 0

    def retire(self, program: str) -> None:
        pass

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def level_of(self, item: Item) -> int:
        """0 is served first."""
        return self._level.get(item, 0)

    def rises(self, item: Item) -> bool:
        return self.level_of(item) > 0

    def _join(self, item: Item) -> int:
        joins = (k for k, quantum in enumerate(self._quanta) if quantum >= item.uncached)
        return next(joins, len(self._quanta) - 1)

    def _standing(self, item: Item) -> int:
        """The level at which a running item would wait if it left now."""
        level = self._level.get(item, 0)
        spent = self._used.get(item, 0) >= self._quanta[level]
        return min(level + spent, len(self._quanta) - 1)

    def _promote_starving(self, now: float) -> None:
        for queue in self._queues[1:]:
            while (item := queue.first()) is not None and now - item.queued >= self._starve_s:
                self._promote(item)

    def _promote(self, item: Item) -> None:
        self._queues[self._level[item]].discard(item)
        self._level[item], self._used[item] = 0, 0
        self._queues[0].push(item, item.queued)

    def _forget(self, item: Item) -> None:
        self._level.pop(item, None)
        self._used.pop(item, None)
