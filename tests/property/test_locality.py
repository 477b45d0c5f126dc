"""The policy `locality`: resident contexts first, under a deficit of each group."""

from hypothesis import given
from hypothesis import strategies as st
from tests.items import drained, enqueue_all, fill, interrupt, item, work

from aios.scheduler.locality import Locality


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=12))
def test_locality_serves_the_longest_resident_context_first_of_whatever_group(given_) -> None:
    items = [item(n, group=group, resident_tokens=tokens) for n, (group, tokens) in enumerate(given_)]
    policy = Locality()
    enqueue_all(policy, items)
    order = [each.resident_tokens for each in drained(policy)]
    assert order == sorted(order, reverse=True)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 9)), max_size=12))
def test_locality_serves_who_was_raised_more_often_first_while_groups_have_tokens_left(given_) -> None:
    items = [
        item(n, group=group, raised=raised, resident_tokens=tokens)
        for n, (group, raised, tokens) in enumerate(given_)
    ]
    policy = Locality()
    enqueue_all(policy, items)
    order = [(-each.raised, -each.resident_tokens) for each in drained(policy)]
    assert order == sorted(order)


def test_locality_raises_nobody_past_a_group_that_has_tokens_left() -> None:
    policy = Locality(refill=100)
    raised, other = item(1, group="a", raised=3), item(2, group="b")
    enqueue_all(policy, [raised, other])
    work(policy, item(3, group="a"), 100)
    assert drained(policy) == [other, raised]


def test_locality_has_a_group_wait_that_used_its_deficit_up() -> None:
    policy = Locality(refill=100)
    resident = [item(n, group="a", resident_tokens=10, context_tokens=100) for n in range(3)]
    other = item(9, group="b")
    enqueue_all(policy, [*resident, other])
    first = policy.select(0.0, lambda _: True)
    assert first in resident
    work(policy, first, 99)
    second = policy.select(0.0, lambda _: True)
    assert second in resident
    work(policy, second, 1)
    assert policy.select(0.0, lambda _: True) is other


def test_locality_interrupts_the_deeper_debt_when_all_who_wait_are_in_debt() -> None:
    policy = Locality(quantum=4, refill=10)
    first, second = item(1, group="a", resident_tokens=9), item(2, group="b")
    enqueue_all(policy, [first, second])
    assert policy.select(0.0, lambda _: True) is first
    work(policy, first, 25)
    work(policy, item(3, group="b"), 11)
    more = item(4, group="a", resident_tokens=10)
    policy.enqueue(more, 0.0)
    first.quantum_used = 3
    assert policy.preempt([first], 0.0) == []
    first.quantum_used = 4
    assert policy.preempt([first], 0.0) == [first]
    assert policy.select(0.0, lambda _: True) is second


def test_locality_has_a_stay_be_worth_its_prefill_before_another_group_interrupts_it() -> None:
    policy = Locality(quantum=4, refill=10)
    cold = item(1, group="a", context_tokens=50)
    policy.enqueue(cold, 0.0)
    assert policy.select(0.0, lambda _: True) is cold
    policy.enqueue(item(2, group="b"), 0.0)
    work(policy, cold, 49)
    assert policy.preempt([cold], 0.0) == []
    work(policy, cold, 1)
    assert policy.preempt([cold], 0.0) == [cold]
    policy.left(cold, 0.0, ended=False)
    cold.resident_tokens = 50
    policy.enqueue(cold, 0.0)
    assert cold in drained(policy)
    work(policy, item(4, group="a"), 1000)
    cold.quantum_used = 4
    policy.enqueue(item(3, group="b"), 0.0)
    assert policy.preempt([cold], 0.0) == [cold]


def test_locality_interrupts_nobody_for_its_own_group() -> None:
    policy = Locality(quantum=4, refill=10)
    enqueue_all(policy, [item(n) for n in range(2)])
    running = policy.select(0.0, lambda _: True)
    work(policy, running, 100)
    assert policy.preempt([running], 0.0) == []


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 9)), min_size=2, max_size=20),
    st.integers(1, 4),
    st.integers(1, 300),
    st.sampled_from([1.0, 2.0, 5.0]),
)
def test_locality_has_groups_differ_by_at_most_a_refill_and_a_quantum_a_slot(
    kinds, slots, refill, weight
) -> None:
    """Two groups that always have items waiting, for their weights, however long their calls are."""
    policy, quantum = Locality(quantum=16, refill=refill), 16
    weights, had = {"a": 1.0, "b": weight}, {"a": 0, "b": 0}
    left, running, number = {}, [], 0
    for _ in range(60):
        waiting = {group: sum(each.group == group for each in left if each not in running) for group in had}
        for group, count in waiting.items():
            for _ in range(slots + 1 - count):
                number += 1
                tokens, resident = kinds[number % len(kinds)]
                new = item(number, group=group, weight=weights[group], resident_tokens=resident)
                left[new] = tokens
                policy.enqueue(new, 0.0)
        fill(policy, running, slots)
        for each in list(running):
            tokens = min(quantum, left[each])
            work(policy, each, tokens)
            had[each.group] += tokens
            left[each] -= tokens
            assert abs(had["a"] - had["b"] / weight) <= refill + slots * quantum
            if not left[each]:
                del left[each]
                running.remove(each)
                policy.left(each, 0.0, ended=True)
        if running:
            interrupt(policy, running)
