"""Earliest deadline first."""

from __future__ import annotations

import math
from collections.abc import Iterable

from aios.scheduler.keyed import KeyedPolicy
from aios.scheduler.policy import Item


class EarliestDeadlineFirst(KeyedPolicy):
    """The item whose deadline is nearest runs, and displaces running ones whose deadline is later or that have
    none (Liu & Layland 1973, section 7: optimal on one processor). Without deadlines: in order of arrival."""

    name = "edf"

    def key(self, item: Item) -> tuple[float, float]:
        return _deadline(item), item.arrival

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        urgent = sorted(map(_deadline, self._ready))
        latest = sorted(running, key=lambda item: (-_deadline(item), item.id))
        return [item for item, deadline in zip(latest, urgent, strict=False) if deadline < _deadline(item)]


def _deadline(item: Item) -> float:
    return math.inf if item.deadline is None else item.deadline
