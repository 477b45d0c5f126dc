"""The table of running calls: what may start now, and who waits for what.

Conflicts are handled as in the AIOS paper (Mei et al. 2024, section 3.7): a call whose tool is full or whose
resources are taken is passed over, and other work goes on. Nothing here waits and nothing is locked: a call is
either in the table or in the queue of its tool, and whenever one leaves, all that now fit are started.

A call of several resources might wait for ever among calls of one each, for they are never all free at once. So
one that was passed over often keeps others from taking what it wants: as those that run end, all of it becomes
free. It holds nothing until then, and of several such calls the oldest goes first: so none waits in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from aios.errors import ToolBusy
from aios.syscalls.tools import Tool
from aios.tools.order import Item, Order

BURST_S = 1.0
"""How much of its rate a tool may use at once, seconds (but always one call)."""

PASSES = 8
"""So often others may take a resource that a call of several waits for."""


class Rate:
    """A token bucket: `per_min` calls a minute. Times are seconds of any steady clock."""

    def __init__(self, per_min: float, now: float) -> None:
        self.per_min, self._per_s = per_min, per_min / 60
        self._most = max(1.0, self._per_s * BURST_S)
        self._left, self._at = self._most, now

    def ready_at(self, now: float) -> float:
        """When the next call may start; `now` or before if it may at once."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        return now if self._left >= 1 - 1e-9 else now + (1 - self._left) / self._per_s

    def take(self) -> None:
        self._left -= 1


class Running:
    """`start` is called with each item that may run, at once or later, from within `submit`, `leave` or `wake`.

    `order`: makes that of the calls of one tool, which is kept for as long as there is the tool.
    `most_waiting`: calls that may wait, for all tools together."""

    def __init__(self, order: Callable[[], Order], most_waiting: int, start: Callable[[Item], None]) -> None:
        self._order, self._most_waiting, self._start = order, most_waiting, start
        self._calls: Counter[str] = Counter()
        self._taken: dict[str, Item] = {}
        self._items: set[Item] = set()
        self._orders: dict[str, Order] = {}
        self._queues: dict[str, Order] = {}
        self._limits: dict[str, int | None] = {}
        self._rates: dict[str, Rate] = {}
        self._waiting = 0
        self._several: dict[Item, None] = {}  # those that wait for several resources, oldest first

    def __len__(self) -> int:
        """How many run."""
        return len(self._items)

    @property
    def waiting(self) -> int:
        return self._waiting

    def calls(self, tool: str) -> int:
        """How many calls of it run."""
        return self._calls[tool]

    def holder(self, key: str) -> Item | None:
        """The running call that has this resource."""
        return self._taken.get(key)

    def admit(self, tool: Tool, now: float) -> None:
        """Learn (again) what the limits of a tool are."""
        self._limits[tool.name] = tool.concurrency
        rate = self._rates.get(tool.name)
        if tool.calls_per_min is None:
            self._rates.pop(tool.name, None)
        elif rate is None or rate.per_min != tool.calls_per_min:
            self._rates[tool.name] = Rate(tool.calls_per_min, now)

    def submit(self, item: Item, now: float) -> None:
        """Start it, or let it wait. Raises ToolBusy if too many wait."""
        if self._waiting >= self._most_waiting and not self._fits(item, now):
            raise ToolBusy(
                f"{self._waiting} calls wait for tools already.", "Try again later.", retry_after=1.0
            )
        queue = self._orders.get(item.tool)
        if queue is None:
            queue = self._orders[item.tool] = self._order()
        self._queues[item.tool] = queue
        queue.enqueue(item, now)
        self._waiting += 1
        if len(item.keys) > 1:
            self._several[item] = None
        self.wake(item.tool, now)

    def leave(self, item: Item, now: float) -> None:
        """It ended, or waits no more."""
        if item not in self._items:
            queue = self._queues[item.tool]
            before = len(queue)
            queue.withdraw(item)
            self._waiting -= before - len(queue)
            self._several.pop(item, None)
            self._tidy(item.tool)
            for tool in list(self._queues) if item.passed >= PASSES else []:
                self.wake(tool, now)  # what was kept for it
            return
        self._items.remove(item)
        self._orders[item.tool].left(item, now)
        self._calls[item.tool] -= 1
        if not self._calls[item.tool]:
            del self._calls[item.tool]
        for key in item.keys:
            del self._taken[key]
        for tool in list(self._queues) if item.keys else [item.tool]:
            self.wake(tool, now)

    def wake(self, tool: str, now: float) -> None:
        """Start what fits of a tool's queue: its rate allows a call again, or something left."""
        queue = self._queues.get(tool)
        if queue is None:
            return
        while not self._full(tool) and (item := queue.select(now, lambda item: self._fits(item, now))):
            self._waiting -= 1
            self._begin(item, now)
            # Of tools that wait for the same resource, the one served goes behind the others.
            self._queues[tool] = self._queues.pop(tool)
        self._tidy(tool)

    def retire(self, program: str) -> None:
        """A program is over."""
        for order in self._orders.values():
            order.retire(program)

    def forget(self, tool: str) -> None:
        """A tool is gone; what runs and waits of it goes on."""
        if tool not in self._queues and not self._calls[tool]:
            for table in (self._orders, self._limits, self._rates):
                table.pop(tool, None)

    def wakes_at(self, tool: str, now: float) -> float | None:
        """When `wake` must be called for it, if calls wait and its rate is used up."""
        if tool not in self._queues or tool not in self._rates or self._full(tool):
            return None
        at = self._rates[tool].ready_at(now)
        return at if at > now else None

    def _tidy(self, tool: str) -> None:
        if not len(self._queues[tool]):
            del self._queues[tool]

    def _begin(self, item: Item, now: float) -> None:
        item.began = now
        self._several.pop(item, None)
        for other in self._several if item.keys else ():
            other.passed += not other.keys.isdisjoint(item.keys)
        self._items.add(item)
        self._calls[item.tool] += 1
        for key in item.keys:
            self._taken[key] = item
        if rate := self._rates.get(item.tool):
            rate.take()
        self._start(item)

    def _kept_from(self, item: Item) -> bool:
        """Whether another call that was passed over often waits for one of its resources."""
        for other in self._several if item.keys else ():
            if other is item:
                if item.passed >= PASSES:
                    return False  # only those before it go first
            elif other.passed >= PASSES and not other.keys.isdisjoint(item.keys):
                return True
        return False

    def _full(self, tool: str) -> bool:
        limit = self._limits.get(tool)
        return limit is not None and self._calls[tool] >= limit

    def _fits(self, item: Item, now: float) -> bool:
        if self._full(item.tool) or not self._taken.keys().isdisjoint(item.keys) or self._kept_from(item):
            return False
        rate = self._rates.get(item.tool)
        return rate is None or rate.ready_at(now) <= now
