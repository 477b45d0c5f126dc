"""What a scheduling policy is, and all that it may see.

A policy is a pure object: no clock, no I/O, no random numbers of its own. The mechanism (`scheduler.py`, or the
simulator on a virtual clock) tells it what became ready and what ran, and asks it whom to run next and whom to
interrupt. Times are seconds of the mechanism's monotonic clock, work is counted in tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from aios.syscalls import SchedulingClass


@dataclass(slots=True, eq=False)
class Item:
    """One sequence that wants to run. The mechanism keeps it up to date; policies read it.

    `arrival`: when its call came. `queued`: when it last became ready. `attained`: tokens computed for it so
    far (uncached prefill + decoded). `quantum_used`: tokens generated since it last got a slot.
    `context_tokens`: prompt and generated; `resident_tokens`: how many of them have their KV in a slot or in
    RAM. `deadline`: clock time, or None."""

    id: int
    pid: int
    program: str
    group: str
    scheduling_class: SchedulingClass
    nice: int
    priority: int
    arrival: float
    queued: float
    context_tokens: int
    attained: int = 0
    quantum_used: int = 0
    resident_tokens: int = 0
    deadline: float | None = None


class SchedulingPolicy(Protocol):
    """Order of one core's ready queue. Every ready item is `enqueue`d exactly once until it is selected or
    withdrawn; an interrupted one is enqueued again."""

    name: str

    def enqueue(self, item: Item, now: float) -> None:
        """`item` became ready."""
        ...

    def withdraw(self, item: Item) -> None:
        """`item` is ready no more (cancelled, paused). Unknown items are ignored."""
        ...

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        """Take out and return the item to run next among those that `fits`; None if there is none."""
        ...

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        """Which of `running` must leave for one that waits. At most as many as wait."""
        ...

    def charge(self, item: Item, tokens: int, now: float) -> None:
        """`item` was given `tokens` tokens of work (uncached prefill or decoding)."""
        ...

    def __len__(self) -> int:
        """How many items wait."""
        ...
