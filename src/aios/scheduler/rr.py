"""Round robin with a token quantum."""

from __future__ import annotations

from collections.abc import Iterable

from aios.scheduler.fifo import Fifo
from aios.scheduler.policy import Item


class RoundRobin(Fifo):
    """A running item that used up its quantum goes to the end of the queue when another waits (AIOS paper,
    section 3.3; Kleinrock 1967 for the discipline). With nobody waiting it just goes on.

    `quantum`: generated tokens of one stay in a slot. Prefill is not counted: it can't be repeated cheaply, so
    cutting it short would only add work."""

    name = "rr"

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        longest = sorted(self._due(running), key=lambda item: -item.quantum_used)  # equals: as they were seated
        return longest[: len(self)]
