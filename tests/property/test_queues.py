"""The queues of groups against sorted lists."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from aios.scheduler.counters import Counters
from aios.scheduler.policy import Item
from aios.scheduler.queues import GroupQueues

steps = st.lists(
    st.tuples(st.sampled_from(("push", "discard", "pop", "charge")), st.integers(0, 11), st.integers(1, 20)),
    max_size=80,
)


def item(number: int) -> Item:
    return Item(
        id=number, pid=number, program="p", group="abc"[number % 3], scheduling_class="normal", nice=0,
        priority=0, arrival=0.0, queued=0.0, context_tokens=1,
    )  # fmt: skip


@settings(deadline=None)
@given(steps)
def test_the_group_that_had_least_goes_first_and_in_it_the_least_key(taken) -> None:
    counters, items, serial = Counters(), [item(number) for number in range(12)], itertools.count()
    queues, keys, turns = GroupQueues(counters), dict[Item, tuple[int, int]](), dict[str, int]()
    for group in "abc":
        counters.enter(group)
    for what, number, more in taken:
        chosen = items[number]
        match what:
            case "push":
                keys[chosen] = more, next(serial)
                turns.setdefault(chosen.group, next(serial))
                queues.push(chosen, more)
            case "discard":
                keys.pop(chosen, None)
                queues.discard(chosen)
            case "charge":
                counters.charge(chosen.group, more, 1.0)
            case _:
                fitting = [each for each in _ordered(keys, turns, counters) if each.id % 4 != number % 4]
                expected = fitting[0] if fitting else None
                assert queues.pop(lambda each, not_so=number % 4: each.id % 4 != not_so) is expected
                keys.pop(expected, None)
        for group in set(turns) - {each.group for each in keys}:
            del turns[group]
        assert set(queues.groups) == set(turns)
        assert queues.first(2) == sorted(turns, key=lambda group: (counters[group], turns[group]))[:2]
        assert list(queues.head(number)) == _ordered(keys, turns, counters)[:number]


def _ordered(keys: dict[Item, tuple[int, int]], turns: dict[str, int], counters: Counters) -> list[Item]:
    return sorted(keys, key=lambda each: (counters[each.group], turns[each.group], keys[each]))
