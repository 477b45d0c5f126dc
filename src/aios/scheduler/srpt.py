"""Shortest remaining processing time."""

from __future__ import annotations

from collections.abc import Iterable

from aios.scheduler.keyed import KeyedPolicy
from aios.scheduler.policy import Item


class ShortestRemaining(KeyedPolicy):
    """The item with the least work left first (Schrage 1968: least mean completion time of all policies on one
    server), where work is uncached prefill plus the tokens still expected (`Item.expected_tokens`: predicted
    from the process's own history; in the simulator an oracle may tell). At the end of a quantum a running item
    leaves for one with less left. Who is raised because it waits goes before who was raised less often: else
    long items starve under load, and so they are still served late. A baseline, not a default."""

    name = "srpt"

    def key(self, item: Item) -> tuple[float, float, float]:
        return *_standing(item), item.arrival

    def rises(self, item: Item) -> bool:
        return True

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        longest = sorted(self._due(running), key=lambda item: (item.raised, -item.remaining, item.id))
        shortest = self._ready.head(len(longest))
        pairs = zip(longest, shortest, strict=False)
        return [item for item, rival in pairs if _standing(rival) < _standing(item)]


def _standing(item: Item) -> tuple[float, float]:
    """Less goes first."""
    return -item.raised, item.remaining
