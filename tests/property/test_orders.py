"""What each policy says of its order, for those of which `test_policies.py` shows only what all have in
common."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.items import drained, enqueue_all, fill, interrupt, item, work

from aios.scheduler.composed import Composed
from aios.scheduler.edf import EarliestDeadlineFirst
from aios.scheduler.fifo import Fifo
from aios.scheduler.mlfq import SkipJoinMlfq
from aios.scheduler.rr import RoundRobin
from aios.scheduler.srpt import ShortestRemaining

# -- fifo, rr --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Fifo, RoundRobin])
@given(queued=st.lists(st.integers(0, 9), max_size=12))
def test_who_became_ready_first_is_first_whoever_was_enqueued_first(policy, queued) -> None:
    items = [item(n, queued=float(at), arrival=-float(at)) for n, at in enumerate(queued)]
    ready = policy()
    enqueue_all(ready, items)
    assert drained(ready) == sorted(items, key=lambda each: each.queued)


def test_fifo_runs_each_to_its_end() -> None:
    policy, running = Fifo(quantum=4), [item(1)]
    policy.enqueue(item(2, scheduling_class="interactive", deadline=1.0), 0.0)
    work(policy, running[0], 1000)
    assert policy.preempt(running, 0.0) == []


@given(st.integers(1, 4), st.integers(0, 8), st.integers(1, 30))
def test_rr_gives_nobody_a_second_quantum_before_all_who_wait_had_one(slots, waiting, rounds) -> None:
    """However many slots there are: at any time nobody is more than a quantum behind another."""
    policy = RoundRobin(quantum=4)
    items, running = [item(n) for n in range(slots + waiting)], []
    enqueue_all(policy, items)
    fill(policy, running, slots)
    for now in range(1, rounds + 1):
        for each in running:
            work(policy, each, 4)
        interrupt(policy, running, float(now))
        had = [each.attained for each in items]
        assert max(had) - min(had) <= 4


def test_rr_lets_one_go_on_while_nobody_waits() -> None:
    policy, alone = RoundRobin(quantum=4), item(1)
    work(policy, alone, 400)
    assert policy.preempt([alone], 0.0) == []


# -- edf, srpt -------------------------------------------------------------------------------------

deadlines = st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=12)


def due(each) -> tuple[bool, float]:
    return each.deadline is None, each.deadline or 0.0


@given(deadlines)
def test_edf_serves_the_nearest_deadline_first_and_none_last(given_) -> None:
    items = [item(n, deadline=at, arrival=-float(n)) for n, at in enumerate(given_)]
    policy = EarliestDeadlineFirst()
    enqueue_all(policy, items)
    assert drained(policy) == sorted(items, key=lambda each: (due(each), each.arrival))


@given(deadlines, deadlines)
def test_edf_runs_those_with_the_nearest_deadlines_of_all(seated, waiting) -> None:
    """Whoever ran before, and though its quantum is not over."""
    items = [item(n, deadline=at) for n, at in enumerate(seated + waiting)]
    policy, running = EarliestDeadlineFirst(), items[: len(seated)]
    enqueue_all(policy, items[len(seated) :])
    interrupt(policy, running)
    assert sorted(map(due, running)) == sorted(map(due, items))[: len(seated)]


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 9)), min_size=1, max_size=12))
def test_edf_serves_who_was_raised_more_often_first_and_the_nearest_deadline_among_equals(given_) -> None:
    items = [item(n, raised=raised, deadline=at) for n, (raised, at) in enumerate(given_)]
    policy = EarliestDeadlineFirst()
    enqueue_all(policy, items)
    assert drained(policy) == sorted(items, key=lambda each: (-each.raised, due(each), each.id))


def test_edf_lets_who_was_raised_displace_another_at_the_end_of_its_quantum_and_have_one_itself() -> None:
    policy = EarliestDeadlineFirst(quantum=4)
    running, raised = item(1, deadline=5.0), item(2, raised=1)
    policy.enqueue(raised, 0.0)
    work(policy, running, 3)
    assert policy.preempt([running], 0.0) == []
    work(policy, running, 1)
    assert policy.preempt([running], 0.0) == [running]
    assert policy.select(0.0, lambda _: True) is raised
    policy.enqueue(item(3, deadline=1.0), 0.0)
    assert policy.preempt([raised], 0.0) == []
    work(policy, raised, 4)
    assert policy.preempt([raised], 0.0) == [raised]


expectations = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12)
"""How many tokens were predicted, and how many were generated."""


@given(expectations)
def test_srpt_serves_the_least_work_left_first(given_) -> None:
    items = [
        item(n, expected_tokens=expected, generated=generated, context_tokens=50 + n, resident_tokens=7 * n)
        for n, (expected, generated) in enumerate(given_)
    ]
    policy = ShortestRemaining()
    enqueue_all(policy, items)
    left = [each.uncached + max(abs(each.expected_tokens - each.generated), 1) for each in drained(policy)]
    assert left == sorted(left)


def test_srpt_expects_more_and_more_of_one_that_outlived_its_prediction() -> None:
    policy = ShortestRemaining(quantum=10)
    outliving, rival = item(1, expected_tokens=10, resident_tokens=10), item(2, expected_tokens=20)
    policy.enqueue(rival, 0.0)  # 30 left
    work(policy, outliving, 40)
    assert policy.preempt([outliving], 0.0) == []  # 30 too many
    work(policy, outliving, 1)
    assert policy.preempt([outliving], 0.0) == [outliving]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), min_size=1, max_size=12))
def test_srpt_serves_who_was_raised_more_often_first_and_the_least_left_among_equals(given_) -> None:
    items = [item(n, raised=raised, expected_tokens=left) for n, (raised, left) in enumerate(given_)]
    policy = ShortestRemaining(quantum=4)
    enqueue_all(policy, items)
    assert drained(policy) == sorted(items, key=lambda each: (-each.raised, each.expected_tokens, each.id))


@pytest.mark.parametrize(
    ("seated", "waits", "leaves"), [(0, 1, True), (1, 2, True), (1, 1, False), (1, 0, False)]
)
def test_srpt_displaces_shorter_ones_for_who_was_raised_more_often_only(seated, waits, leaves) -> None:
    policy = ShortestRemaining(quantum=4)
    running, rival = item(1, expected_tokens=20, raised=seated), item(2, expected_tokens=500, raised=waits)
    policy.enqueue(rival, 0.0)
    work(policy, running, 4)
    assert policy.preempt([running], 0.0) == ([running] if leaves else [])


@given(expectations, expectations)
def test_srpt_has_those_with_the_least_left_run_after_each_quantum(seated, waiting) -> None:
    items = [item(n, expected_tokens=expected + made, generated=made, quantum_used=64)
             for n, (expected, made) in enumerate(seated + waiting)]  # fmt: skip
    policy, running = ShortestRemaining(quantum=64), items[: len(seated)]
    enqueue_all(policy, items[len(seated) :])
    interrupt(policy, running)
    assert sorted(each.remaining for each in running) == sorted(each.remaining for each in items)[: len(seated)]


# -- mlfq ------------------------------------------------------------------------------------------


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 8))
def test_mlfq_has_one_join_the_first_level_whose_quantum_covers_its_prompt(context, resident, levels) -> None:
    policy = SkipJoinMlfq(quantum=64, levels=levels)
    joining = item(1, context_tokens=context, resident_tokens=resident)
    policy.enqueue(joining, 0.0)
    level = policy.level_of(joining)
    assert joining.uncached <= 64 << level or level == levels - 1
    assert level == 0 or joining.uncached > 64 << level - 1


def test_mlfq_serves_a_short_prompt_before_a_long_one_that_came_first() -> None:
    policy = SkipJoinMlfq(quantum=64)
    long, short = item(1, context_tokens=1000), item(2, context_tokens=60, queued=1.0)
    enqueue_all(policy, [long, short])
    assert drained(policy, 1.0) == [short, long]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_mlfq_moves_one_down_when_it_used_the_quantum_of_its_level_up(stays) -> None:
    """And only then: shorter stays add up."""
    policy, one = SkipJoinMlfq(quantum=4, levels=5), item(1, context_tokens=3)
    level, used = 0, 0
    for tokens in stays:
        policy.enqueue(one, 0.0)
        assert policy.level_of(one) == level
        assert policy.select(0.0, lambda _: True) is one
        work(policy, one, tokens)
        policy.left(one, 0.0, ended=False)
        used += tokens
        if used >= 4 << level:
            level, used = min(level + 1, 4), 0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_mlfq_lets_who_waits_on_a_higher_level_displace_lower_ones(seated, waiting) -> None:
    policy = SkipJoinMlfq(quantum=4, levels=5)
    levels = seated + waiting
    items = [item(n, context_tokens=4 << level) for n, level in enumerate(levels)]
    running = items[: len(seated)]
    enqueue_all(policy, items)
    for each in running:
        policy.enqueue(each, 0.0)
    drained(policy)
    enqueue_all(policy, items[len(seated) :])
    interrupt(policy, running)
    assert sorted(map(policy.level_of, running)) == sorted(levels)[: len(seated)]


def test_mlfq_promotes_who_waited_too_long_to_the_first_level() -> None:
    policy = SkipJoinMlfq(quantum=4, starve_s=30.0)
    long, short = item(1, context_tokens=1000), item(2, context_tokens=4, queued=1.0)
    enqueue_all(policy, [long, short])
    assert policy.select(29.9, lambda _: True) is short
    policy.enqueue(short, 29.9)
    assert policy.select(30.0, lambda _: True) is long
    assert policy.level_of(long) == 0


def test_mlfq_promotes_who_is_raised_to_the_first_level() -> None:
    policy = SkipJoinMlfq(quantum=4)
    long, short = item(1, context_tokens=1000), item(2, context_tokens=4, queued=1.0)
    enqueue_all(policy, [long, short])
    assert policy.rises(long)
    long.raised = 1
    policy.enqueue(long, 2.0)
    assert not policy.rises(long)
    assert len(policy) == 2
    assert drained(policy, 2.0) == [long, short]


# -- composed: declared plans ----------------------------------------------------------------------

plans = st.lists(st.tuples(st.integers(1, 10_000), st.none() | st.integers(1, 9)), min_size=1, max_size=12)


@given(plans)
def test_composed_serves_the_least_work_left_first_of_those_who_declared_it(given_) -> None:
    """In levels, four for each doubling: nobody passes one whose rest is less by more than that."""
    items = [item(n, ahead=float(ahead), path=path) for n, (ahead, path) in enumerate(given_)]
    policy = Composed()
    enqueue_all(policy, items)
    order = drained(policy)
    for n, each in enumerate(order):
        assert all(each.ahead <= later.ahead * 2**0.25 for later in order[n:])
    for one, next_ in pairwise(order):
        if policy.level_of(one) == policy.level_of(next_):
            assert (one.path or 0) >= (next_.path or 0)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 9)), min_size=1, max_size=12))
def test_composed_serves_the_longest_chain_first_among_equals(given_) -> None:
    """Before what is resident and who came first."""
    items = [
        item(n, ahead=1000.0, path=float(path), resident_tokens=resident, queued=float(n))
        for n, (path, resident) in enumerate(given_)
    ]
    policy = Composed()
    enqueue_all(policy, items)
    expected = sorted(items, key=lambda each: (-each.path, -each.resident_tokens, each.queued))
    assert drained(policy) == expected


@given(plans)
def test_a_declared_plan_passes_no_class_group_or_urgency(given_) -> None:
    policy = Composed()
    enqueue_all(policy, [item(n, ahead=float(ahead), nice=1) for n, (ahead, _) in enumerate(given_)])
    urgent = item(100, ahead=1e6, queued=1.0)
    batch = item(101, ahead=1.0, scheduling_class="batch")
    enqueue_all(policy, [urgent, batch])
    order = drained(policy)
    assert order[0] is urgent
    assert order[-1] is batch


def test_a_running_item_leaves_at_the_end_of_a_quantum_for_one_with_less_left() -> None:
    policy, running = Composed(quantum=64), item(1, ahead=1000.0)
    policy.enqueue(running, 0.0)
    drained(policy)
    policy.enqueue(item(2, ahead=100.0), 0.0)
    work(policy, running, 63)
    assert policy.preempt([running], 0.0) == []
    running.quantum_used = 64
    assert policy.preempt([running], 0.0) == [running]
