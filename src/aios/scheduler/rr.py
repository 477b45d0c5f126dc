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

    def __init__(self, *, quantum: int = 64) -> None:
        super().__init__()
        self._quantum = max(1, quantum)

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        due = [item for item in running if item.quantum_used >= self._quantum]
        due.sort(key=lambda item: (-item.quantum_used, item.id))
        return due[: len(self)]
