"""Watches that the composed policy keeps its starvation bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aios.scheduler.composed import Composed
from aios.scheduler.policy import Item
from aios.scheduler.ready import ReadyQueue


@dataclass(slots=True)
class Plight:
    """Of an overdue item when it became so: selections that count and tokens of payback until then, how many
    were before it, and how many uncached tokens they had (with those of the relief before)."""

    selections: int
    work: float
    before: int
    uncached: int


class Witness:
    """Hands everything on to `policy`, and keeps the books of the bound in its docstring beside it.

    `overdue`: items that became so. `selections`, `work`: the most that one of them used up of what the bound
    allows it, as shares: 1.0 is just within."""

    def __init__(self, policy: Composed, *, starve_s: float, relief: float) -> None:
        self.name = policy.name
        self.overdue, self.selections, self.work = 0, 0.0, 0.0
        self._policy, self._starve_s, self._relief = policy, starve_s, relief
        self._young = ReadyQueue()
        self._plights: dict[Item, Plight] = {}
        self._counted, self._payback = 0, 0.0
        self._owed, self._paying, self._last = 0.0, 0, False

    def enqueue(self, item: Item, now: float) -> None:
        self._young.push(item, item.queued)
        self._policy.enqueue(item, now)

    def withdraw(self, item: Item) -> None:
        self._drop(item)
        self._policy.withdraw(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        self._mature(now)
        paying = self._owed > 0
        oldest = next(iter(self._plights), None) if not paying and not self._last else None
        item = self._policy.select(now, fits)
        if item is None:
            return None
        self._counted += not paying
        self._last = oldest is not None
        if plight := self._plights.get(item):
            self._account(plight)
        if oldest is item:
            self._owed, self._paying = (1 + self._relief) * item.uncached, item.uncached
        elif oldest:
            self.selections = math.inf  # it had to be the oldest
        self._drop(item)
        return item

    def _account(self, plight: Plight) -> None:
        allowed = 2 * (plight.before + 1)
        self.selections = max(self.selections, (self._counted - plight.selections) / allowed)
        if tokens := (1 + self._relief) * plight.uncached:
            self.work = max(self.work, (self._payback - plight.work) / tokens)

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        return self._policy.preempt(running, now)

    def charge(self, item: Item, tokens: int, now: float) -> None:
        self._payback += min(tokens, max(0.0, self._owed))
        self._owed -= tokens
        self._policy.charge(item, tokens, now)

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        self._policy.left(item, now, ended=ended)

    def retire(self, program: str) -> None:
        self._policy.retire(program)

    def __len__(self) -> int:
        return len(self._policy)

    def _mature(self, now: float) -> None:
        """Who waited long enough joins the overdue, in the order of waiting."""
        while (item := self._young.first()) is not None and now - item.queued >= self._starve_s:
            self._young.discard(item)
            uncached = self._paying + sum(other.uncached for other in self._plights)
            self._plights[item] = Plight(self._counted, self._payback, len(self._plights), uncached)
            self.overdue += 1

    def _drop(self, item: Item) -> None:
        self._young.discard(item)
        self._plights.pop(item, None)
