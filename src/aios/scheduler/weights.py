"""What queues weigh against each other, by the agents that have calls in them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from aios.scheduler.policy import Item


@dataclass(slots=True)
class Members:
    """Of one group: its weight, by agent how many items it has in which queue, and how many agents stand in
    each queue, one that stands in k of them for 1 / k in each."""

    weight: float = 1.0
    agents: dict[int, Counter[str]] = field(default_factory=dict[int, Counter[str]])
    standing: dict[str, float] = field(default_factory=dict[str, float])


class Weights:
    """A queue weighs what its agents weigh, an agent (a process) as much as each other one of its group that
    has items here: together they weigh what the group does. So no agent gains by where it stands, nor by
    standing in several queues. Every operation costs as much as there are queues."""

    def __init__(self) -> None:
        self._groups: dict[str, Members] = {}
        self._weight: dict[str, float] = {}

    def enter(self, item: Item, queue: str) -> None:
        """`item` came, and belongs into `queue`."""
        group = self._groups.setdefault(item.group, Members())
        if item.pid in group.agents and queue in group.agents[item.pid] and group.weight == item.weight:
            group.agents[item.pid][queue] += 1
            return
        self._count(group, -1)
        group.weight = item.weight
        calls = group.agents.setdefault(item.pid, Counter())
        _stand(group, calls, -1)
        calls[queue] += 1
        _stand(group, calls, 1)
        self._count(group, 1)

    def leave(self, item: Item, queue: str) -> None:
        """It is gone for good."""
        group = self._groups[item.group]
        calls = group.agents[item.pid]
        if calls[queue] > 1:
            calls[queue] -= 1
            return
        self._count(group, -1)
        _stand(group, calls, -1)
        del calls[queue]
        _stand(group, calls, 1)
        if not calls:
            del group.agents[item.pid]
        self._count(group, 1)
        if not group.agents:
            del self._groups[item.group]
        if not self._groups:
            self._weight.clear()  # with what rounding left

    def of(self, queue: str) -> float:
        """Weight of `queue`; 0 or about that: nobody stands in it."""
        return self._weight.get(queue, 0.0)

    def _count(self, group: Members, sign: int) -> None:
        for queue, agents in group.standing.items():
            part = group.weight * agents / max(1, len(group.agents))
            self._weight[queue] = self._weight.get(queue, 0.0) + sign * part


def _stand(group: Members, calls: Counter[str], sign: int) -> None:
    for queue in calls:
        group.standing[queue] = group.standing.get(queue, 0.0) + sign / len(calls)
