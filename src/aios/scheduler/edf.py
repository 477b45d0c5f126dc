"""Earliest deadline first."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aios.scheduler.keyed import KeyedPolicy
from aios.scheduler.policy import Item


class EarliestDeadlineFirst(KeyedPolicy):
    """The item whose deadline is nearest runs, and displaces running ones whose deadline is later or that have
    none (Liu & Layland 1973, section 7: optimal on one processor). Without deadlines: in order of arrival.

    Else those with later deadlines or none could wait for ever, so who is raised because it waits goes before
    who was raised less often. Until its quantum is over it leaves for no deadline of such a one; at the end of
    its quantum a running item leaves for one that was raised more often."""

    name = "edf"

    def key(self, item: Item) -> tuple[float, float, float]:
        return -item.raised, _deadline(item), item.arrival

    def rises(self, item: Item) -> bool:
        return True

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        latest = sorted(running, key=lambda item: (item.raised, -_deadline(item), item.id))
        urgent = self._ready.head(len(latest))
        return [item for item, rival in zip(latest, urgent, strict=False) if self._displaces(rival, item)]

    def _displaces(self, rival: Item, item: Item) -> bool:
        sooner = _deadline(rival) < _deadline(item)
        if item.quantum_used < self._quantum:
            return sooner and rival.raised >= item.raised
        return sooner or rival.raised > item.raised


def _deadline(item: Item) -> float:
    return math.inf if item.deadline is None else item.deadline
