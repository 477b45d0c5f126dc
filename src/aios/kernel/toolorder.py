"""The scheduler's policies, ordering calls of tools."""

from __future__ import annotations

from collections.abc import Callable

from aios.kernel.plans import TOKENS_PER_S
from aios.scheduler.policy import Item, SchedulingPolicy
from aios.tools import order


class PolicyOrder:
    """An `Order` of tool calls that asks a policy. Its work is counted in seconds that calls ran, as so many
    tokens: fair shares of a tool are shares of its time."""

    def __init__(self, policy: SchedulingPolicy) -> None:
        self._policy = policy
        self._theirs: dict[order.Item, Item] = {}
        self._ours: dict[Item, order.Item] = {}

    def __len__(self) -> int:
        return len(self._policy)

    def enqueue(self, item: order.Item, now: float) -> None:
        caller = item.caller
        theirs = self._theirs[item] = Item(
            id=item.id, pid=caller.pid, program=caller.program or caller.agent, group=caller.group,
            scheduling_class=caller.scheduling_class, nice=caller.nice, priority=0, arrival=item.arrival,
            queued=now, context_tokens=0, weight=caller.weight, kind=caller.kind,
        )  # fmt: skip
        self._ours[theirs] = item
        self._policy.enqueue(theirs, now)

    def withdraw(self, item: order.Item) -> None:
        if theirs := self._theirs.pop(item, None):
            del self._ours[theirs]
            self._policy.withdraw(theirs)

    def select(self, now: float, fits: Callable[[order.Item], bool]) -> order.Item | None:
        found = self._policy.select(now, lambda theirs: fits(self._ours[theirs]))
        return None if found is None else self._ours[found]

    def left(self, item: order.Item, now: float) -> None:
        theirs = self._theirs.pop(item)
        del self._ours[theirs]
        theirs.attained = max(1, round((now - item.began) * TOKENS_PER_S))
        self._policy.charge(theirs, theirs.attained, now)
        self._policy.left(theirs, now, ended=True)

    def retire(self, program: str) -> None:
        self._policy.retire(program)
