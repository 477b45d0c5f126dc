"""Shortest remaining processing time."""

from __future__ import annotations

from collections.abc import Iterable

from aios.scheduler.keyed import KeyedPolicy
from aios.scheduler.policy import Item


class ShortestRemaining(KeyedPolicy):
    """The item with the least work left first (Schrage 1968: least mean completion time of all policies on one
    server), where work is uncached prefill plus the tokens still expected (`Item.expected_tokens`: predicted
    from the process's own history; in the simulator an oracle may tell). At the end of a quantum a running item
    leaves for one with less left. Starves long items under load: a baseline, not a default."""

    name = "srpt"

    def key(self, item: Item) -> tuple[float, float]:
        return item.remaining, item.arrival

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        shortest = sorted(item.remaining for item in self._ready)
        longest = sorted(self._due(running), key=lambda item: (-item.remaining, item.id))
        return [item for item, left in zip(longest, shortest, strict=False) if left < item.remaining]
