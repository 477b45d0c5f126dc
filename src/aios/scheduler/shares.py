"""Several policies on one core: each call under the one it chose, each policy with its share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping

from aios.scheduler.policy import Item, Learner, SchedulingPolicy, level_under, rises_under
from aios.scheduler.weights import Weights

Make = Callable[[str], SchedulingPolicy]
"""A fresh policy of that name."""


class Shares:
    """Calls that chose a policy (`Item.policy`) wait in a queue of its own under it, all others in that of the
    core's `own`. Of the queues in which somebody waits, the one that had the least service for its weight is
    served next (start-time fair queueing: Goyal, Vin & Cheng 1996, section 2; charged as the work is done,
    since nobody knows it before: Sheng et al. 2024): the virtual time of a queue is the tokens of work it was
    given, uncached prefill and generated, over its weight, which is that of the agents in it (`Weights`). What
    is scheduled is a quantum; one begins no earlier than at the virtual time of the core, which is where the
    last one began: idling earns no credit. While nobody waits nobody owes anything: the core's time is the
    latest.

    Who leaves a slot is said by the policy of its own queue, for one of that queue; and at the end of its
    quantum an item leaves for one of a queue that is further behind. Classes count inside a queue, not between
    them.

    **Bound.** Let S be the slots, C the most tokens from a seating to the end of the quantum, w the least
    weight of a queue. While somebody waits in a queue, none is ahead of it by more than S * C / w. So of T
    tokens of work that the core does meanwhile, a queue of weight v gets at least v * (T / W - 3 * S * C / w),
    W being the weight of all together; in these its own policy does what it would do alone, starvation bound
    and all. (Items that take several slots are not counted while too few are free.)

    `make`: makes the policies that are chosen. `items`: those that wait in `own` or run already."""

    def __init__(
        self, own: SchedulingPolicy, make: Make, items: Iterable[Item] = (), *, quantum: int = 64
    ) -> None:
        self.name = own.name
        self._make, self._quantum = make, max(1, quantum)
        self._queues = {"": own}
        self._served = {"": 0.0}
        self._time = 0.0
        self._weights = Weights()
        self._known: set[Item] = set()
        for item in items:
            self._join(item)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Other policies under which there are calls."""
        return tuple(sorted({item.policy for item in self._known} - {""}))

    def offer(self, name: str) -> None:
        """Have a queue under policy `name`. Raises what `make` raises."""
        if name in self._queues:
            return
        policy, own = self._make(name), self._queues[""]
        if isinstance(policy, Learner) and isinstance(own, Learner):
            policy.learn(own.learned())
        self._queues[name], self._served[name] = policy, self._time

    def replace(self, own: SchedulingPolicy) -> None:
        """The core's own policy is `own` from now on. Nobody may wait in the queue that is replaced."""
        self.name, self._queues[""] = own.name, own

    def choose(self, item: Item, name: str) -> None:
        """`item`, which waits in no queue, is one that chose policy `name`."""
        self._leave(item)
        item.policy = name
        self._join(item)

    def enqueue(self, item: Item, now: float) -> None:
        self._join(item)
        queue = self._queue(item)
        if not len(queue):
            self._served[item.policy] = max(self._served[item.policy], self._time)
        queue.enqueue(item, now)

    def withdraw(self, item: Item) -> None:
        self._queue(item).withdraw(item)
        self._leave(item)

    def select(self, now: float, fits: Callable[[Item], bool]) -> Item | None:
        for name in sorted(self._waiting(), key=self._served.__getitem__):
            if item := self._queues[name].select(now, fits):
                self._begin(name)
                return item
        return None

    def preempt(self, running: Iterable[Item], now: float) -> list[Item]:
        here = list(running) if len(self) else []
        for item in here:
            self.offer(item.policy)
        due: dict[Item, None] = {}
        for name in self._waiting():
            mine = [item for item in here if item.policy == name]
            due |= dict.fromkeys(self._queues[name].preempt(mine, now) if mine else ())
        behind = sorted(
            itertools.chain.from_iterable(
                itertools.repeat(self._served[name], min(len(self._queues[name]), len(here)))
                for name in self._waiting()
            )
        )
        rivals = iter(behind[len(due) :])  # the slots that become free anyway go to those furthest behind
        over = (item for item in here if item.quantum_used >= self._quantum and item not in due)
        for item in sorted(over, key=lambda item: (-self._served[item.policy], -item.quantum_used, item.id)):
            if next(rivals, math.inf) < self._served[item.policy]:
                due[item] = None
            else:
                self._begin(item.policy, behind[0])
        return list(due)

    def charge(self, item: Item, tokens: int, now: float) -> None:
        self._queue(item).charge(item, tokens, now)
        weight = self._weights.of(item.policy) if item in self._known else item.weight
        self._served[item.policy] += tokens / weight
        if not len(self):
            self._time = max(self._time, self._served[item.policy])

    def left(self, item: Item, now: float, *, ended: bool) -> None:
        self._queue(item).left(item, now, ended=ended)
        if ended:
            self._leave(item)

    def retire(self, program: str) -> None:
        for queue in self._queues.values():
            queue.retire(program)

    def level_of(self, item: Item) -> int:
        """Under its own policy."""
        return level_under(self._queue(item), item)

    def rises(self, item: Item) -> bool:
        """Under its own policy."""
        return rises_under(self._queue(item), item)

    def learned(self) -> dict[str, list[float]]:
        own = self._queues[""]
        return own.learned() if isinstance(own, Learner) else {}

    def learn(self, sizes: Mapping[str, list[float]]) -> None:
        own = self._queues[""]
        if isinstance(own, Learner):
            own.learn(sizes)

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def _begin(self, name: str, least: float = math.inf) -> None:
        """A quantum of that queue begins. `least`: virtual time of who is furthest behind of those that
        wait."""
        self._served[name] = max(self._served[name], self._time)
        self._time = max(self._time, min(self._served[name], least))

    def _queue(self, item: Item) -> SchedulingPolicy:
        self.offer(item.policy)  # it may run since before there was this
        return self._queues[item.policy]

    def _waiting(self) -> list[str]:
        return [name for name, queue in self._queues.items() if len(queue)]

    def _join(self, item: Item) -> None:
        if item not in self._known:
            self._known.add(item)
            self._weights.enter(item, item.policy)

    def _leave(self, item: Item) -> None:
        if item in self._known:
            self._known.remove(item)
            self._weights.leave(item, item.policy)


def offering(
    policy: SchedulingPolicy, name: str, make: Make, items: Iterable[Item], quantum: int
) -> SchedulingPolicy:
    """What orders a core by `policy` and has a queue under policy `name` beside. `items`: all there are. Raises
    what `make` raises."""
    shares = policy if isinstance(policy, Shares) else Shares(policy, make, items, quantum=quantum)
    shares.offer(name)
    return shares


def replaced(
    policy: SchedulingPolicy,
    own: SchedulingPolicy,
    make: Make,
    items: Iterable[Item],
    named: Iterable[Item],
    quantum: int,
) -> SchedulingPolicy:
    """What orders a core by `own` from now on that was ordered by `policy`. `items`: all there are, none of
    which waits in the queue of the core's own policy; `named`: those of them that chose that one by its name,
    and keep it."""
    if isinstance(own, Learner) and isinstance(policy, Learner):
        own.learn(policy.learned())
    kept = [item for item in named if own.name != policy.name]
    if not kept and not any(item.policy for item in items):
        return own
    name = policy.name
    shares = policy if isinstance(policy, Shares) else Shares(own, make, items, quantum=quantum)
    shares.replace(own)
    for item in kept:
        shares.choose(item, name)
    return shares
