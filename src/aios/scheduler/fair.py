"""Fair shares of tokens between groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aios.scheduler.counters import Counters
from aios.scheduler.policy import Item
from aios.scheduler.queues import GroupQueues


class Fair:
    """The group that had the fewest tokens for its weight goes first; inside a group, in the order of arrival
    (virtual token counter: Sheng et al. 2024, "Fairness in Serving Large Language Models", algorithm 2).
    Charged are uncached prefill and generated tokens, as they are computed. At the end of a quantum a running
    item leaves for one of a group that is further behind, or of its own.

    Of two groups that both always have items waiting, neither is ever ahead by more than `2 * S * C / w`: S
    slots, each running one item of at most C tokens (prefill and quantum) from one selection to the next, and
    w the smaller weight (their theorem 4.3, with a batch of S stays). To be raised changes nothing: inside its
    group who waits longest is first as it is, and between groups it would break this bound, which is what
    keeps a group from starving."""

    name = "fair"

    def __init__(self, *, quantum: int = 64) -> None:
        self._quantum = max(1, quantum)
        self._counters = Counters()
        self._known: set[Item] = set()
        self._queues = GroupQueues(self._counters)
        self._waiting: set[Item] = set()

    def enqueue(self, item: Item, now: float) -> None:
        if item not in self._known:
            self._known.add(item)
            self._counters.enter(item.group)
        self._waiting.add(item)
        self._queues.push(item, item.queued)

    def withdraw(self, item: Item) -> None:
        self._waiting.discard(item)
        self._queues.discard(item)
        self._forget(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        item = self._queues.pop(fits)
        if item is not None:
            self._waiting.remove(item)
        return item

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        furthest = sorted(
            (item for item in running if item.quantum_used >= self._quantum),
            key=lambda item: (-self._counters[item.group], -item.quantum_used, item.id),
        )
        next_ones = self._queues.first(len(furthest))
        behind = [self._counters[group] for group in next_ones for _ in self._queues.groups[group]]
        return [
            item for item, least in zip(furthest, behind, strict=False) if least <= self._counters[item.group]
        ]

    def charge(self, item: Item, tokens: int, now: float) -> None:
        self._counters.charge(item.group, tokens, item.weight)

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        if ended:
            self._forget(item)

    def retire(self, program: str) -> None:
        pass

    def __len__(self) -> int:
        return len(self._waiting)

    def _forget(self, item: Item) -> None:
        if item in self._known:
            self._known.remove(item)
            self._counters.leave(item.group)
