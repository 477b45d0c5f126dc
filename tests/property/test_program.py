"""The policy `program`: levels by the service of whole programs, and nobody starves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.items import drained, enqueue_all, item, work

from aios.scheduler.program import ProgramService


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
