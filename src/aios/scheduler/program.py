"""Least attained service of whole programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aios.scheduler.policy import Item
from aios.scheduler.ready import ReadyQueue


@dataclass(slots=True)
class Attained:
    """Of one program: tokens on its longest chain of calls so far, and the seconds its calls waited since one
    was promoted last."""

    path: float = 0.0
    waited: float = 0.0


class ProgramService:
    """A call's priority is the service that its program attained before it, in K levels that double; inside a
    level in order of arrival. The calls of one program may run side by side, and children work for their
    parents: what counts is the longest chain, a call starting where the longest chain of those that ended
    before it stands (Autellix: Luo et al. 2025, section 4.2.2, ATLAS; with calls one after the other this is
    PLAS, section 4.2.1). At the end of a quantum a running item leaves for one of a higher or its own level.

    **Starvation bound.** A call goes to the first level once the wait of its program, which is its own and what
    calls before it waited, exceeds `beta` times its service (section 4.2.3, anti-starvation), and when it is
    raised because it waits. A wait that led to a promotion counts for no later call's. So nobody waits for more
    than `beta * token_s` seconds a token of its service without being on the first level, where who arrived
    first is first.

    `base`: tokens of the first level. `token_s`: seconds that a token takes, to compare wait with service."""

    name = "program"

    def __init__(
        self, *, quantum: int = 64, levels: int = 8, base: int = 256, beta: float = 8.0, token_s: float = 0.02
    ) -> None:
        self._quantum, self._base, self._beta, self._token_s = max(1, quantum), max(1, base), beta, token_s
        self._queues = [ReadyQueue() for _ in range(max(1, levels))]
        self._programs: dict[str, Attained] = {}
        self._start: dict[Item, float] = {}
        self._hungry = ReadyQueue()
        """Who waits below the first level, by when it starves."""
        self._starves: dict[Item, float] = {}
        """When: it stays so while one waits."""
        self._promoted: dict[Item, float] = {}
        """Who waits and was put on the first level, and when."""

    def enqueue(self, item: Item, now: float) -> None:
        program = self._programs.setdefault(item.program, Attained())
        self._start.setdefault(item, program.path)
        if item not in self._promoted:
            self._discard(item)
            if item.raised and self.level_of(item):
                self._promote(item, now)
                return
        level = self.level_of(item)
        self._queues[level].push(item, item.arrival)
        if level:
            self._starves[item] = item.queued + self._beta * self._chain(item) * self._token_s - program.waited
            self._hungry.push(item, self._starves[item])

    def withdraw(self, item: Item) -> None:
        self._discard(item)
        self._promoted.pop(item, None)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        self._promote_starving(now)
        for queue in self._queues:
            if item := queue.pop(fits):
                self._discard(item)
                since = self._promoted.pop(item, item.queued)
                if program := self._programs.get(item.program):
                    program.waited += max(0.0, now - since)
                return item
        return None

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        self._promote_starving(now)
        waiting = [level for level, queue in enumerate(self._queues) for _ in queue]
        lowest = sorted(
            (item for item in running if item.quantum_used >= self._quantum),
            key=lambda item: (-self.level_of(item), -item.quantum_used, item.id),
        )
        return [item for item, level in zip(lowest, waiting, strict=False) if level <= self.level_of(item)]

    def charge(self, item: Item, tokens: int, now: float) -> None:
        pass  # Item.attained says it

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        if not ended:
            return
        start = self._start.pop(item, 0.0)
        if program := self._programs.get(item.program):
            program.path = max(program.path, start + item.attained)

    def retire(self, program: str) -> None:
        self._programs.pop(program, None)

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def level_of(self, item: Item) -> int:
        """0 is served first."""
        if item in self._promoted:
            return 0
        return min(len(self._queues) - 1, int(self._chain(item) // self._base).bit_length())

    def rises(self, item: Item) -> bool:
        return self.level_of(item) > 0

    def _chain(self, item: Item) -> float:
        """Tokens on the longest chain of calls that leads to now."""
        return self._start.get(item, 0.0) + item.attained

    def _promote_starving(self, now: float) -> None:
        while (item := self._hungry.first()) is not None and now > self._starves[item]:
            self._promote(item, now)

    def _promote(self, item: Item, now: float) -> None:
        self._discard(item)
        self._promoted[item] = now
        if program := self._programs.get(item.program):
            program.waited = 0.0
        self._queues[0].push(item, item.arrival)

    def _discard(self, item: Item) -> None:
        """Out of all queues."""
        for queue in self._queues:
            queue.discard(item)
        self._hungry.discard(item)
        self._starves.pop(item, None)
