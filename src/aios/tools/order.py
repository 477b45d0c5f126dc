"""Which of the calls that wait for one tool goes next.

An order is a pure object, of the shape of the scheduler's policies (`scheduler/policy.py`), so that one of
those can take its place: it has no clock and no I/O, and is asked for the next among those that fit.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True, eq=False)
class Item:
    """One call that waits. `arrival`: when it came, seconds of the manager's clock."""

    id: int
    agent: str
    tool: str
    keys: frozenset[str]
    arrival: float


class Order(Protocol):
    """Every waiting call is `enqueue`d once until it is selected or withdrawn."""

    def enqueue(self, item: Item, now: float) -> None: ...

    def withdraw(self, item: Item) -> None:
        """It waits no more. Unknown items are ignored."""
        ...

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        """Take out and return the next among those that `fits`; None if there is none."""
        ...

    def __len__(self) -> int: ...


class RoundRobin:
    """One call of each agent in turn, the calls of one agent in the order in which they came (Nagle 1985, RFC
    970, for packets). A call that does not fit is passed over and keeps its place. O(calls passed over)."""

    def __init__(self) -> None:
        self._agents: OrderedDict[str, deque[Item]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enqueue(self, item: Item, now: float) -> None:
        self._agents.setdefault(item.agent, deque()).append(item)
        self._count += 1

    def withdraw(self, item: Item) -> None:
        if item in self._agents.get(item.agent, ()):
            self._remove(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        found = next((item for queue in self._agents.values() for item in queue if fits(item)), None)
        if found is not None:
            self._remove(found)
            if found.agent in self._agents:
                self._agents.move_to_end(found.agent)
        return found

    def _remove(self, item: Item) -> None:
        self._agents[item.agent].remove(item)
        self._count -= 1
        if not self._agents[item.agent]:
            del self._agents[item.agent]
