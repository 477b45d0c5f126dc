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
from aios.scheduler.locality import Locality
from aios.scheduler.mlfq import SkipJoinMlfq
from aios.scheduler.program import ProgramService
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


# -- program ---------------------------------------------------------------------------------------


def level_of_next(policy: ProgramService, program: str = "p") -> int:
    call = item(999, program=program)
    policy.enqueue(call, 0.0)
    level = policy.level_of(call)
    policy.withdraw(call)
    policy.left(call, 0.0, ended=True)
    return level


@given(st.integers(0, 100_000), st.integers(1, 1000))
def test_the_levels_of_program_double(attained, base) -> None:
    policy = ProgramService(base=base, levels=32)
    call = item(1, attained=attained)
    policy.enqueue(call, 0.0)
    level = policy.level_of(call)
    assert attained < base << level
    assert level == 0 or attained >= base << level - 1


@given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=4), max_size=5))
def test_a_call_of_a_program_starts_where_its_longest_chain_ended(rounds) -> None:
    """Calls of a round run side by side; the sum of what they took does not count."""
    policy, chain = ProgramService(base=1, levels=32), 0
    for number, tokens in enumerate(rounds):
        side_by_side = [item(10 * number + n, program="p") for n in range(len(tokens))]
        enqueue_all(policy, side_by_side)
        assert len(drained(policy)) == len(tokens)
        for each, attained in zip(side_by_side, tokens, strict=True):
            work(policy, each, attained)
            assert policy.level_of(each) == (chain + attained).bit_length()
        for each in side_by_side:
            policy.left(each, 0.0, ended=True)
        chain += max(tokens)
        assert level_of_next(policy) == chain.bit_length()


def test_program_serves_a_second_call_after_the_first_of_another_program() -> None:
    policy = ProgramService(base=256)
    first = item(1, program="p")
    enqueue_all(policy, [first])
    drained(policy)
    work(policy, first, 300)
    policy.left(first, 1.0, ended=True)
    second, rival = item(2, program="p", arrival=1.0), item(3, program="q", arrival=2.0)
    enqueue_all(policy, [second, rival])
    assert drained(policy) == [rival, second]


@pytest.mark.parametrize("before", [0.0, 3.0])
def test_program_promotes_one_whose_wait_exceeds_beta_times_its_service(before) -> None:
    """All waits of the program count, those of its calls before too."""
    policy = ProgramService(base=100, beta=8.0, token_s=0.01)
    first = item(1, program="p", queued=0.0)
    enqueue_all(policy, [first])
    drained(policy, before)
    work(policy, first, 100)  # a second
    policy.left(first, before, ended=True)
    waiting, rival = item(2, program="p", arrival=10.0, queued=10.0), item(3, arrival=11.0, queued=11.0)
    enqueue_all(policy, [waiting, rival])
    limit = 18.0 - before
    assert policy.select(limit, lambda _: True) is rival
    policy.enqueue(rival, limit)
    assert policy.select(limit + 0.1, lambda _: True) is waiting


def given_service(policy: ProgramService, program: str, tokens: int, waited: float = 0.0) -> None:
    """A call of the program waits, has so many tokens and ends."""
    call = item(900 + len(program), program=program)
    policy.enqueue(call, 0.0)
    assert policy.select(waited, lambda _: True) is call
    work(policy, call, tokens, waited)
    policy.left(call, waited, ended=True)


def test_program_counts_a_wait_that_led_to_a_promotion_no_second_time() -> None:
    policy = ProgramService(base=100, beta=8.0, token_s=0.01)
    given_service(policy, "p", 100)  # a second: eight may be waited
    second = item(2, program="p", arrival=10.0, queued=10.0)
    policy.enqueue(second, 10.0)
    assert policy.select(20.0, lambda _: True) is second  # two more than it may
    assert policy.level_of(second) == 1
    policy.left(second, 20.0, ended=True)
    third, rival = item(3, program="p", arrival=20.0, queued=20.0), item(4, arrival=30.0, queued=30.0)
    enqueue_all(policy, [third, rival])
    assert policy.select(28.0, lambda _: True) is rival
    policy.enqueue(rival, 28.0)
    assert policy.select(28.1, lambda _: True) is third


def test_program_counts_what_is_waited_after_a_promotion() -> None:
    policy = ProgramService(base=100, beta=8.0, token_s=0.01)
    given_service(policy, "p", 100)
    second = item(2, program="p", arrival=10.0, queued=10.0)
    policy.enqueue(second, 10.0)
    assert policy.preempt([], 20.0) == []  # promoted, and there is no slot for it for five seconds more
    assert policy.select(25.0, lambda _: True) is second
    policy.left(second, 25.0, ended=True)
    third, rival = item(3, program="p", arrival=30.0, queued=30.0), item(4, arrival=31.0, queued=31.0)
    enqueue_all(policy, [third, rival])
    assert policy.select(33.0, lambda _: True) is rival
    policy.enqueue(rival, 33.0)
    assert policy.select(33.1, lambda _: True) is third


def test_program_promotes_one_that_starves_behind_one_of_its_level_that_does_not() -> None:
    policy = ProgramService(base=100, beta=8.0, token_s=0.01)
    given_service(policy, "p", 390)
    given_service(policy, "qq", 210)
    ahead = item(1, program="p", arrival=10.0, queued=10.0)
    starving = item(2, program="qq", arrival=11.0, queued=11.0)
    enqueue_all(policy, [ahead, starving])
    assert policy.level_of(ahead) == policy.level_of(starving)
    assert policy.select(30.0, lambda _: True) is starving


moves = st.lists(
    st.tuples(
        st.sampled_from(["come", "come", "select", "leave", "end", "raise"]),
        st.integers(0, 9),
        st.integers(0, 400),
    ),
    max_size=60,
)


@given(moves, st.sampled_from([0.5, 4.0]))
def test_program_lets_nobody_wait_past_the_stated_bound_below_the_first_level(plan, beta) -> None:
    policy = ProgramService(base=64, beta=beta, token_s=0.01, levels=4)
    waiting, running, now = [], [], 0.0
    path, start = {"p": 0, "qq": 100, "rrr": 400}, {}
    for program, tokens in path.items():
        given_service(policy, program, tokens)
    for number, (what, which, tokens) in enumerate(plan):
        now += tokens / 100
        if what == "come":
            waiting.append(item(number, program=[*path][which % 3], arrival=now, queued=now))
            start[waiting[-1]] = path[waiting[-1].program]
            policy.enqueue(waiting[-1], now)
        elif what == "raise" and waiting:
            waiting[which % len(waiting)].raised += 1
            policy.enqueue(waiting[which % len(waiting)], now)
        elif what == "select" and (found := policy.select(now, lambda _: True)):
            waiting.remove(found)
            running.append(found)
        elif what in ("leave", "end") and running:
            one = running.pop(which % len(running))
            work(policy, one, tokens, now)
            policy.left(one, now, ended=what == "end")
            if what == "leave":
                one.queued, one.raised = now, 0
                policy.enqueue(one, now)
                waiting.append(one)
            else:
                path[one.program] = max(path[one.program], start[one] + one.attained)
        policy.preempt(running, now)
        for each in waiting:
            if each.raised or now - each.queued > beta * 0.01 * (start[each] + each.attained) + 1e-9:
                assert policy.level_of(each) == 0
        assert len(policy) == len(waiting)


# -- locality --------------------------------------------------------------------------------------


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
