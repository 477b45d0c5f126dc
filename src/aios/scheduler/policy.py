"""What a scheduling policy is, and all that it may see.

A policy is a pure object: no clock, no I/O, no random numbers of its own. The mechanism (`scheduler.py`, or the
simulator on a virtual clock) tells it what became ready and what ran, and asks it whom to run next and whom to
interrupt. Times are seconds of the mechanism's monotonic clock, work is counted in tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from aios.syscalls import SchedulingClass


class Item(msgspec.Struct, eq=False):
    """One sequence that wants to run. The mechanism keeps it up to date; policies read it.

    `arrival`: when its call came. `queued`: when it last became ready. `attained`: tokens computed for it so
    far (uncached prefill + decoded). `quantum_used`: tokens generated since it last got a slot.
    `context_tokens`: prompt and generated; `resident_tokens`: how many of them have their KV in a slot or in
    RAM, `dropped_tokens`: how many had it, until it had to make room. `deadline`: clock time, or None.
    `weight`: of its group, for fair shares. `kind`: what programs like its own are called. `expected_tokens`:
    how many will be generated in all, as predicted (0: unknown); `generated`: how many were. `raised`: how
    often, because it waited so long; where classes count, each time by one. `width`: how many slots it takes.
    `policy`: that it chose, "" the core's own (`Shares`). Where the program said what it will do: `ahead`,
    tokens of all that is left of it; `path`, of the longest chain of what waits for this item, itself included.
    `gap_s`: seconds from its end to the next call of its process, as declared, or as the tools of the process
    took before; None unknown."""

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
    dropped_tokens: int = 0
    deadline: float | None = None
    weight: float = 1.0
    kind: str = ""
    expected_tokens: float = 0.0
    generated: int = 0
    raised: int = 0
    width: int = 1
    policy: str = ""
    path: float | None = None
    ahead: float | None = None
    gap_s: float | None = None

    @property
    def uncached(self) -> int:
        """Tokens of its context that must be computed before it can go on."""
        return max(0, self.context_tokens - self.resident_tokens)

    @property
    def remaining(self) -> float:
        """Tokens of work that are left, as far as one can know. One that outlived its prediction is expected to
        go on for as long again as it was wrong."""
        ahead = self.expected_tokens - self.generated
        return self.uncached + (ahead if ahead > 0 else max(1.0, -ahead))


CLASSES: tuple[SchedulingClass, ...] = ("interactive", "normal", "batch", "idle")
"""Most urgent first."""


def class_rank(item: Item) -> int:
    """0 is the most urgent."""
    rank = CLASSES.index(item.scheduling_class)
    return max(0, rank - item.raised) if item.raised else rank


@runtime_checkable
class Levelled(Protocol):
    """A policy that has levels."""

    def level_of(self, item: Item) -> int:
        """On which level `item` stands; 0 is served first."""
        ...


@runtime_checkable
class Raising(Protocol):
    """A policy under which to be raised counts for something else than a better class."""

    def rises(self, item: Item) -> bool:
        """Whether `item`, which waits, would stand better if it were raised once more."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A policy that learns how long programs are, by what they are called."""

    def learned(self) -> dict[str, list[float]]:
        """Sizes, in tokens of work, of programs that ended, by kind; the oldest first."""
        ...

    def learn(self, sizes: Mapping[str, list[float]]) -> None:
        """What another one `learned`."""
        ...


class SchedulingPolicy(Protocol):
    """Order of one core's ready queue. A ready item is `enqueue`d when it becomes ready, and again if what it
    is ordered by changed (but not `queued`), until it is selected or withdrawn; an interrupted one is enqueued
    again."""

    name: str

    def enqueue(self, item: Item, now: float) -> None:
        """`item` became ready; or it is, and moves."""
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

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        """`item` is out of its slot. `ended`: for good (done, failed or cancelled); else it is enqueued
        again."""
        ...

    def retire(self, program: str) -> None:
        """A program is over: nothing of it comes any more."""
        ...

    def __len__(self) -> int:
        """How many items wait."""
        ...


def level_under(policy: SchedulingPolicy, item: Item) -> int:
    """On which level it stands there; by classes if the policy has no levels."""
    return policy.level_of(item) if isinstance(policy, Levelled) else class_rank(item)


def rises_under(policy: SchedulingPolicy, item: Item) -> bool:
    """Whether it can be raised once more: as the policy says, else until it has come to the best class."""
    return policy.rises(item) if isinstance(policy, Raising) else class_rank(item) > 0
