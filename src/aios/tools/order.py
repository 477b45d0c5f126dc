"""Which of the calls that wait for one tool goes next.

An order is a pure object, of the shape of the scheduler's policies (`scheduler/policy.py`), so that one of
those can take its place: it has no clock and no I/O, and is asked for the next among those that fit.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aios.tools.tool import Caller


@dataclass(slots=True, eq=False)
class Item:
    """One call that waits. `arrival`, `began`: when it came and when it was started, seconds of the
    manager's clock. `passed`: how often others took a resource that it waited for."""

    id: int
    caller: Caller
    tool: str
    keys: frozenset[str]
    arrival: float
    began: float = 0.0
    passed: int = 0


class Order(Protocol):
    """Every call is `enqueue`d once; it is selected or withdrawn, and one that was selected has `left` when it
    is over."""

    def enqueue(self, item: Item, now: float) -> None: ...

    def withdraw(self, item: Item) -> None:
        """It waits no more. Unknown items are ignored."""
        ...

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        """Take out and return the next among those that `fits`; None if there is none."""
        ...

    def left(self, item: Item, now: float) -> None:
        """It ran since `item.began` and is over."""
        ...

    def retire(self, program: str) -> None:
        """A program is over: no call of it comes any more."""
        ...

    def __len__(self) -> int:
        """How many wait."""
        ...


class RoundRobin:
    """One call of each agent in turn, the calls of one agent in the order in which they came (Nagle 1985, RFC
    970, for packets). A call that does not fit is passed over and keeps its place. O(calls passed over)."""

    def __init__(self) -> None:
        self._agents: OrderedDict[str, deque[Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enqueue(self, item: Item, now: float) -> None:
        self._agents.setdefault(item.caller.agent, deque()).append(item)
        self._count += 1

    def withdraw(self, item: Item) -> None:
        if item in self._agents.get(item.caller.agent, ()):
            self._remove(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        found = next((item for queue in self._agents.values() for item in queue if fits(item)), None)
        if found is not None:
            self._remove(found)
            if found.caller.agent in self._agents:
                self._agents.move_to_end(found.caller.agent)
        return found

    def left(self, item: Item, now: float) -> None: ...

    def retire(self, program: str) -> None: ...

    def _remove(self, item: Item) -> None:
        self._agents[item.caller.agent].remove(item)
        self._count -= 1
        if not self._agents[item.caller.agent]:
            del self._agents[item.caller.agent]
