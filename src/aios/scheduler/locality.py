"""Longest resident prefix first, under a deficit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aios.scheduler.policy import Item
from aios.scheduler.ready import ReadyQueue


class Locality:
    """Items in the order of how much of their context is resident; but a group whose deficit is used up must
    wait until all with waiting items have used theirs, when each gets `refill * weight` tokens more (deficit
    longest prefix match: Cao et al. 2025, "Locality-aware Fair Scheduling in LLM Serving", algorithm 1). Two
    groups with items always waiting differ by at most one refill and what runs, each to its end."""

    name = "locality"

    def __init__(self, *, quantum: int = 64, refill: int = 2048) -> None:
        self._quantum, self._refill = max(1, quantum), max(1, refill)
        self._deficit: dict[str, float] = {}
        self._weight: dict[str, float] = {}
        self._queues: dict[str, ReadyQueue] = {}

    def enqueue(self, item: Item, now: float) -> None:
        self._weight[item.group] = item.weight
        self._deficit.setdefault(item.group, self._refill * item.weight)
        self._queues.setdefault(item.group, ReadyQueue()).push(item, (-item.resident_tokens, item.queued))

    def withdraw(self, item: Item) -> None:
        if item.group in self._queues:
            self._queues[item.group].discard(item)
            self._prune(item.group)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        heads = [group for group, queue in self._queues.items() if queue]
        if heads and not any(self._deficit[group] > 0 for group in heads):
            self._top_up(heads)

        def order(group: str) -> tuple[bool, int]:
            first = self._queues[group].first()
            return self._deficit[group] <= 0, -(first.resident_tokens if first else 0)

        for group in sorted(heads, key=order):
            if item := self._queues[group].pop(fits):
                self._prune(group)
                return item
        return None

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        """Those of groups that used their deficit up, for groups that have not; else nobody: what is resident
        is cheapest where it is."""
        entitled = sum(len(queue) for group, queue in self._queues.items() if self._deficit[group] > 0)
        due = [
            item
            for item in running
            if item.quantum_used >= self._quantum and self._deficit.get(item.group, 0.0) <= 0
        ]
        due.sort(key=lambda item: (self._deficit.get(item.group, 0.0), item.id))
        return due[:entitled]

    def charge(self, item: Item, tokens: int, now: float) -> None:
        self._deficit[item.group] = self._deficit.get(item.group, 0.0) - tokens

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        pass

    def retire(self, program: str) -> None:
        pass

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def _top_up(self, groups: list[str]) -> None:
        """As many refills as it takes for one of them to have tokens again."""
        rounds = min(1 + int(-self._deficit[g] // (self._refill * self._weight[g])) for g in groups)
        for group in groups:
            step = self._refill * self._weight[group]
            self._deficit[group] = min(step, self._deficit[group] + max(1, rounds) * step)

    def _prune(self, group: str) -> None:
        if not self._queues[group]:
            del self._queues[group]
