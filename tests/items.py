"""Items for policies to order, driven by hand."""

from collections.abc import Iterable

from aios.scheduler.policy import Item, SchedulingPolicy


def item(number: int, **fields) -> Item:
    given = {"pid": number, "program": f"p{number}", "group": "g", "scheduling_class": "normal", "nice": 0}
    given |= {"priority": 0, "arrival": 0.0, "queued": 0.0, "context_tokens": 10}
    return Item(id=number, **{**given, **fields})


def enqueue_all(policy: SchedulingPolicy, items: Iterable[Item], now: float = 0.0) -> None:
    for each in items:
        policy.enqueue(each, now)


def drained(policy: SchedulingPolicy, now: float = 0.0) -> list[Item]:
    """All that wait, in the order in which they are selected at `now`."""
    order: list[Item] = []
    while (each := policy.select(now, lambda _: True)) is not None:
        order.append(each)
    return order


def work(policy: SchedulingPolicy, each: Item, tokens: int, now: float = 0.0) -> None:
    """A running item generates `tokens`."""
    each.attained += tokens
    each.quantum_used += tokens
    each.generated += tokens
    policy.charge(each, tokens, now)


def interrupt(policy: SchedulingPolicy, running: list[Item], now: float = 0.0) -> None:
    """Those who must leave wait again, and others take their slots."""
    slots = len(running)
    for each in policy.preempt(list(running), now):
        running.remove(each)
        policy.left(each, now, ended=False)
        each.queued = now
        policy.enqueue(each, now)
    fill(policy, running, slots, now)


def fill(policy: SchedulingPolicy, running: list[Item], slots: int, now: float = 0.0) -> None:
    while len(running) < slots and (each := policy.select(now, lambda _: True)) is not None:
        each.quantum_used = 0
        running.append(each)
