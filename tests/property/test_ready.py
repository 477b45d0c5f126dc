"""The ready queue against a sorted list, whether keys come in order or not."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from aios.scheduler.policy import Item
from aios.scheduler.ready import SLACK, ReadyQueue

steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 9), st.integers(0, 20)),
        st.tuples(st.just("late"), st.integers(0, 9), st.integers(0, 3)),
        st.tuples(st.just("discard"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("pop"), st.integers(0, 9), st.integers(1, 3)),
    ),
    max_size=80,
)


def item(number: int) -> Item:
    return Item(
        id=number, pid=number, program="p", group="g", scheduling_class="normal", nice=0, priority=0,
        arrival=0.0, queued=0.0, context_tokens=1,
    )  # fmt: skip


def test_what_moves_again_and_again_leaves_nothing_behind() -> None:
    queue, items = ReadyQueue(), [item(number) for number in range(10)]
    for round in range(1000):
        for each in items:
            queue.push(each, (each.id * 7 + round) % 13)
    assert len(queue._line) + len(queue._heap) <= 2 * len(items) + SLACK
    assert queue.head(10) == sorted(items, key=lambda each: ((each.id * 7 + 999) % 13, each.id))


@settings(deadline=None)
@given(steps)
def test_items_leave_in_the_order_of_their_keys_and_of_their_coming(taken) -> None:
    queue, items = ReadyQueue(), [item(number) for number in range(10)]
    model: dict[Item, tuple[int, int]] = {}
    count = itertools.count()

    def fits(among: int, each: Item) -> bool:
        return each.id % among == 0

    for what, number, more in taken:
        chosen = items[number]
        match what:
            case "push" | "late":  # a late one has a key beyond all that came before
                key = more if what == "push" else 100 + len(model) + more
                model[chosen] = (key, next(count))
                queue.push(chosen, key)
            case "discard":
                assert queue.discard(chosen) == (model.pop(chosen, None) is not None)
            case _:
                waiting = sorted(model, key=model.__getitem__)
                expected = next((each for each in waiting if fits(more, each)), None)
                assert queue.pop(lambda each, among=more: fits(among, each)) is expected
                if expected is not None:
                    del model[expected]
        assert len(queue) == len(model)
        assert set(queue) == set(model)
        assert queue.head(number) == sorted(model, key=model.__getitem__)[:number]
        assert queue.first() is min(model, key=model.__getitem__, default=None)
