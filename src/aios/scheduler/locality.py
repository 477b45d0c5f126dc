"""Longest resident prefix first, under a deficit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aios.scheduler.policy import Item
from aios.scheduler.ready import ReadyQueue


class Locality:
    """Items in the order of how much of their context is resident; but a group whose deficit is used up must
    wait until all with waiting items have used theirs, when each gets `refill * weight` tokens more (deficit
    longest prefix match: Cao et al. 2025, "Locality-aware Fair Scheduling in LLM Serving", algorithm 1). Inside
    a group, and between groups that have tokens left, who is raised because it waits goes before who is not.

    A running item of a group whose deficit is used up leaves for one of a group that has tokens left, after a
    refill if none of those waiting has; but not before it generated as many tokens as had to be computed for
    it, nor before the end of a quantum: where contexts don't fit into memory an interrupt costs as much
    again, and groups that take turns would do little else.

    **Bound.** From when two groups began, as long as both have items waiting, they differ by at most
    `refill + S * C / w` tokens for each unit of weight: a refill, and what each of S slots does before it may
    be interrupted, C tokens at most (the prefill, and whole quanta until as many are generated), w being the
    smaller weight. Over any later time in which both have items waiting, by at most twice that."""

    name = "locality"

    def __init__(self, *, quantum: int = 64, refill: int = 2048) -> None:
        self._quantum, self._refill = max(1, quantum), max(1, refill)
        self._deficit: dict[str, float] = {}
        self._weight: dict[str, float] = {}
        self._queues: dict[str, ReadyQueue] = {}
        self._stays: dict[Item, int] = {}
        """Who runs, and how many tokens it may generate before it is interrupted."""

    def enqueue(self, item: Item, now: float) -> None:
        self._weight[item.group] = item.weight
        self._deficit.setdefault(item.group, self._refill * item.weight)
        self._queues.setdefault(item.group, ReadyQueue()).push(item, (*_standing(item), item.queued))

    def withdraw(self, item: Item) -> None:
        if item.group in self._queues:
            self._queues[item.group].discard(item)
            self._prune(item.group)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        def order(group: str) -> tuple[bool, int, int]:
            first = self._queues[group].first()
            raised, resident = _standing(first) if first else (0, 0)
            return self._deficit[group] <= 0, raised, resident

        self._top_up()
        for group in sorted(self._queues, key=order):
            if item := self._queues[group].pop(fits):
                self._prune(group)
                self._stays[item] = max(self._quantum, item.uncached)
                return item
        return None

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        """Those of groups that used their deficit up, for groups that have not; else nobody: what is resident
        is cheapest where it is."""
        over = [item for item in running if self._in_debt(item) and self._may_leave(item)]
        if over:
            self._top_up()
        entitled = sum(len(queue) for group, queue in self._queues.items() if self._deficit[group] > 0)
        due = [item for item in over if self._in_debt(item)]
        due.sort(key=lambda item: (self._deficit.get(item.group, 0.0), item.id))
        return due[:entitled]

    def charge(self, item: Item, tokens: int, now: float) -> None:
        self._deficit[item.group] = self._deficit.get(item.group, 0.0) - tokens

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        self._stays.pop(item, None)

    def retire(self, program: str) -> None:
        pass

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def rises(self, item: Item) -> bool:
        return True

    def _in_debt(self, item: Item) -> bool:
        return self._deficit.get(item.group, 0.0) <= 0

    def _may_leave(self, item: Item) -> bool:
        return item.quantum_used >= self._stays.get(item, self._quantum)

    def _top_up(self) -> None:
        """If of the groups in which somebody waits none has tokens: as many refills as it takes for one of them
        to have some again."""
        if not self._queues or any(self._deficit[group] > 0 for group in self._queues):
            return
        rounds = min(1 + int(-self._deficit[g] // (self._refill * self._weight[g])) for g in self._queues)
        for group in self._queues:
            self._deficit[group] += rounds * self._refill * self._weight[group]

    def _prune(self, group: str) -> None:
        if not self._queues[group]:
            del self._queues[group]


def _standing(item: Item) -> tuple[int, int]:
    """Less goes first."""
    return -item.raised, -item.resident_tokens
