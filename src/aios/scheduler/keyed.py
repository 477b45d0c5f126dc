"""Base of policies that order waiting items by a key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from aios.scheduler.policy import Item
from aios.scheduler.ready import ReadyQueue


class KeyedPolicy(ABC):
    """The waiting item with the least `key` first. A subclass says the key, and when a running item must
    leave."""

    name = ""

    def __init__(self, *, quantum: int = 64) -> None:
        self._quantum = max(1, quantum)
        self._ready = ReadyQueue()

    @abstractmethod
    def key(self, item: Item) -> Any:
        """Orders waiting items. Must not change while an item waits."""

    def enqueue(self, item: Item, now: float) -> None:
        self._ready.push(item, self.key(item))

    def withdraw(self, item: Item) -> None:
        self._ready.discard(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        return self._ready.pop(fits)

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        return []

    def charge(self, item: Item, tokens: int, now: float) -> None:
        return None

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        return None

    def retire(self, program: str) -> None:
        return None

    def __len__(self) -> int:
        return len(self._ready)

    def _due(self, running: Iterable[Item]) -> list[Item]:
        """Those that used their quantum up."""
        return [item for item in running if item.quantum_used >= self._quantum]
