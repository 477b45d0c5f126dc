"""Limits of a process: charged in advance, settled at the end."""

import asyncio

import pytest

from aios.errors import LimitExceeded
from aios.kernel.limits import Budget, Charge
from aios.syscalls import Limits

pytestmark = pytest.mark.anyio


def budget(parent: Budget | None = None, **limits: int) -> Budget:
    return Budget(7, Limits(**limits), parent)


async def test_without_limits_nothing_is_counted_and_nothing_waits():
    charge = Charge(None)
    await charge.enter()
    charge.hold(10**9, 10**9)
    charge.settle(calls=1, tokens=10**9)


async def test_the_call_after_the_last_is_refused_and_told_which_limit_it_met():
    account = budget(calls=2)
    Charge(account)
    Charge(account).settle(calls=1, tokens=0)
    with pytest.raises(LimitExceeded, match=r"Process 7 .* 2 calls.*`calls`"):
        Charge(account)


async def test_a_call_that_was_refused_later_gives_its_place_back():
    account = budget(calls=1)
    Charge(account).settle(calls=0, tokens=0)
    Charge(account)


async def test_calls_at_once_cannot_spend_the_same_tokens():
    account = budget(tokens=100)
    first, second = Charge(account), Charge(account)
    first.hold(10, 50)
    with pytest.raises(LimitExceeded, match=r"60 tokens \(10 of them prompt\).* 40 of its 100.*at most 30"):
        second.hold(10, 50)
    first.settle(calls=1, tokens=15)
    second.hold(10, 50)
    assert (account.tokens, account.held_tokens) == (15, 60)


async def test_what_was_not_used_is_given_back_once():
    account = budget(tokens=100)
    charge = Charge(account)
    charge.hold(10, 90)
    charge.settle(calls=1, tokens=30)
    charge.settle(calls=1, tokens=30)
    assert (account.calls, account.held_calls, account.tokens, account.held_tokens) == (1, 0, 30, 0)


async def test_a_child_spends_its_parents_budget_too():
    parent = budget(tokens=100)
    children = [budget(parent, tokens=80), budget(parent, tokens=80)]
    Charge(children[0]).hold(70, 0)
    with pytest.raises(LimitExceeded, match="30 of its 100"):
        Charge(children[1]).hold(40, 0)
    assert children[1].held_tokens == 0


async def test_a_call_of_before_a_crash_is_not_checked_again():
    account = budget(calls=1, tokens=10)
    Charge(account)
    again = Charge(account, admitted=True)
    again.hold(10, 10)
    again.settle(calls=1, tokens=20)
    assert (account.calls, account.tokens) == (1, 20)


async def test_calls_beyond_the_concurrency_wait_in_the_order_they_came():
    account = budget(concurrency=1)
    order: list[int] = []

    async def call(number: int) -> None:
        charge = Charge(account)
        try:
            await charge.enter()
            order.append(number)
            await asyncio.sleep(0)
        finally:
            charge.settle(calls=1, tokens=0)

    tasks = [asyncio.create_task(call(i)) for i in range(6)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 2, 4, 5]
    Charge(account)
