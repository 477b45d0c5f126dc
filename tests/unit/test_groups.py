"""Groups of agents: a tree of rates, budgets and shares."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from aios.config import GroupSettings
from aios.errors import BadRequest, ContextOverflow, Forbidden, LimitExceeded
from aios.kernel.admission import Admission
from aios.kernel.groups import Group, GroupTable, Pass
from aios.kernel.limits import Budget
from aios.kernel.rates import Bucket, Purse
from aios.kernel.records import GroupRow
from aios.kernel.visit import Visit
from aios.scheduler.ticket import Ticket
from aios.syscalls import Limits, Usage

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def table(*groups: GroupSettings) -> tuple[GroupTable, list[str]]:
    spent: list[str] = []
    return GroupTable(groups, keep=lambda group: spent.append(group.settings.name)), spent


def entered(groups: GroupTable, name: str) -> Pass:
    found = groups.enter(name)
    assert found is not None
    return found


def test_a_bucket_fills_with_time_and_never_beyond_a_minutes_worth():
    clock = Clock()
    bucket = Bucket(60.0, clock)
    bucket.give(-90.0)
    assert bucket.level == -30.0
    clock.now += 40
    assert bucket.level == 10.0
    clock.now += 1e6
    assert bucket.level == 60.0


async def test_over_a_rate_calls_wait_in_the_order_in_which_they_came():
    bucket = Bucket(6000.0)
    bucket.give(-6000.0)  # empty: from here on 100 a second
    order: list[int] = []

    async def one(number: int) -> None:
        await bucket.take(2.0)
        order.append(number)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(one(number))
    assert order == [0, 1, 2, 3, 4]
    assert time.monotonic() - began >= 0.09


async def test_whoever_is_cancelled_while_it_waits_took_nothing_and_holds_nobody_up():
    bucket = Bucket(6000.0)
    bucket.give(-6000.0)
    first = asyncio.create_task(bucket.take(5000.0))
    second = asyncio.create_task(bucket.take(1.0))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert bucket.level > -1


def test_a_purse_refills_when_its_period_is_over():
    clock = Clock()
    purse = Purse(10.0, 60.0, spent=9.0, began=990.0, clock=clock)
    assert (purse.left(), purse.refills_in()) == (1.0, 50.0)
    purse.held += 1.0
    clock.now += 50
    assert purse.left() == 9.0  # what is held for calls under way stays held
    purse.settle(1.0, 0.25)
    assert purse.left() == 9.75


async def test_over_a_budget_a_call_is_refused_with_the_group_and_when_it_refills():
    groups, spent = table(
        GroupSettings(name="research", spend=1.0, spend_period_s=3600), GroupSettings(name="research/web")
    )
    call = entered(groups, "research/web/bot")
    await call.enter()
    await call.hold(10, 20, 0.8)
    other = entered(groups, "research")
    with pytest.raises(LimitExceeded, match=r"'research' has 0\.2 of its 1 left\. It refills in") as caught:
        await other.hold(10, 20, 0.5)
    assert caught.value.retry_after == pytest.approx(3600, abs=5)
    other.settle(0, 0.0)
    call.settle(20, 0.1)
    again = entered(groups, "research")
    await again.hold(10, 20, 0.9)
    again.settle(20, 0.9)
    assert set(spent) == {"research", "research/web"}
    info = {one.name: one for one in groups.list()}
    assert info["research"].spent == pytest.approx(1.0)
    assert info["research"].calls == 0


async def test_concurrency_is_waited_for_and_the_queue_is_bounded():
    groups, _ = table(GroupSettings(name="g", concurrency=1, max_queue=2))
    first, second = entered(groups, "g"), entered(groups, "g")
    with pytest.raises(LimitExceeded, match="2 calls under way"):
        groups.enter("g")
    await first.enter()
    waiting = asyncio.create_task(second.enter())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    first.settle(0, 0.0)
    await waiting
    second.settle(0, 0.0)
    assert groups.list()[0].calls == 0


async def test_a_context_that_may_get_too_long_is_refused():
    groups, _ = table(GroupSettings(name="g", max_context=100))
    call = entered(groups, "g")
    with pytest.raises(ContextOverflow, match="group 'g' may have 100"):
        await call.hold(90, 101, 0.0)


async def test_tokens_generated_are_paid_back_by_those_who_come_next():
    groups, _ = table(GroupSettings(name="g", tokens_per_min=1000))
    call = entered(groups, "g")
    await call.hold(100, 5000, 0.0)
    call.settle(3100, 0.0)
    call.settle(3100, 0.0)  # only once
    left = groups.list()[0].tokens_left
    assert left is not None
    assert left == pytest.approx(-2100, abs=20)


async def test_a_call_that_never_began_was_no_request():
    groups, _ = table(
        GroupSettings(name="a", requests_per_min=1e-3, max_context=10),
        GroupSettings(name="a/b", requests_per_min=1e-3),
    )
    above, below = groups._groups["a"].requests, groups._groups["a/b"].requests
    assert above
    assert below
    above.give(-1e-3)  # empty, for all of this test
    call = entered(groups, "a/b")
    waiting = asyncio.create_task(call.enter())
    await asyncio.sleep(0)
    assert below.level == pytest.approx(-1, abs=0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    call.settle(0, 0.0, began=False)
    assert below.level == pytest.approx(0, abs=0.01)
    above.give(1.0)
    other = entered(groups, "a")
    await other.enter()
    with pytest.raises(ContextOverflow):
        await other.hold(11, 11, 0.0)
    other.settle(0, 0.0, began=False)
    assert above.level == pytest.approx(0, abs=0.01)


async def test_what_is_given_back_is_there_at_once_for_who_waits():
    bucket = Bucket(1.0)
    await bucket.take(1.0)
    waiting = asyncio.create_task(bucket.take(1.0))
    await asyncio.sleep(0)
    bucket.give(1.0)
    await asyncio.wait_for(waiting, 10)


async def test_a_call_that_its_group_refuses_holds_nothing_of_its_process():
    groups, _ = table(GroupSettings(name="g", max_queue=1))
    budget = Budget(1, Limits(calls=2), None)
    first = Admission.of(budget, groups, "g")
    for _ in range(3):
        with pytest.raises(LimitExceeded, match="'g' has 1 calls under way"):
            Admission.of(budget, groups, "g")
    assert budget.held_calls == 1
    first.settle(Usage(), began=False)
    assert (budget.held_calls, budget.calls) == (0, 0)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_call_that_a_person_was_asked_about_counts_from_when_it_begins(begun: bool):
    budget = Budget(1, Limits(calls=2), None)
    groups, _ = table(GroupSettings(name="g", requests_per_min=1e-3))
    admission = Admission.of(budget, groups, "g")
    await admission.enter()
    who: Any = SimpleNamespace(pid=1, agent="g:ann", id=1, kind="llm.generate")
    visit = Visit(who, who, Ticket(1, 1), None, admission=admission)
    visit.park()
    if begun:
        visit.begin()
    visit.settle()
    assert (budget.calls, budget.held_calls) == (int(begun), 0)
    assert groups.list()[0].requests_left == pytest.approx(-int(begun), abs=0.01)


async def test_limits_change_while_calls_are_under_way():
    groups, _ = table(GroupSettings(name="a/b", concurrency=1))
    call = entered(groups, "a/b")
    await call.enter()
    groups.set(GroupSettings(name="a", spend=5.0))
    groups.set(GroupSettings(name="a/b", concurrency=2))
    others = [entered(groups, "a/b") for _ in range(2)]
    for other in others:
        await other.enter()
    for one in (call, *others):
        one.settle(1, 0.5)
    assert {one.name: one.spent for one in groups.list()}["a"] == 1.0  # not the call that began before
    with pytest.raises(BadRequest, match="concurrency is 0"):
        groups.set(GroupSettings(name="a", concurrency=0))


async def test_only_what_is_named_changes_and_none_takes_a_limit_away():
    groups, _ = table(GroupSettings(name="a", concurrency=1, tokens_per_min=1000, spend=5.0))
    first = entered(groups, "a")
    await first.enter()
    await first.hold(900, 900, 1.0)
    told = groups.change("a", {"weight": 2.0, "spend": None, "policies": ["edf"], "classes": ["batch"]})
    assert (told.weight, told.spend, told.concurrency, told.tokens_per_min) == (2.0, None, 1, 1000)
    assert (told.policies, told.classes) == (("edf",), ("batch",))
    assert told.tokens_left == pytest.approx(100, abs=20)  # what is used of it is not forgotten
    second = asyncio.create_task(entered(groups, "a").enter())
    await asyncio.sleep(0)
    assert not second.done()  # nor who is inside
    first.settle(900, 1.0)
    await second
    assert groups.change("new", {"concurrency": 3}).concurrency == 3
    assert groups.change("a", {"classes": None}).classes == GroupSettings(name="a").classes
    for wrong in ({"weigth": 1.0}, {"weight": "much"}, {"policies": ["none-such"]}):
        with pytest.raises(BadRequest, match="'a'"):
            groups.change("a", wrong)
    assert groups.change("a", {}).weight == 2.0


async def test_a_call_that_no_budget_can_ever_pay_is_not_told_to_wait():
    groups, _ = table(GroupSettings(name="g", spend=1.0, spend_period_s=60.0))
    with pytest.raises(LimitExceeded, match="'g' may spend no more than 1 ") as refused:
        await entered(groups, "g").hold(1, 1, 1.5)
    assert refused.value.retry_after is None


def test_the_nearest_group_that_says_so_says_which_policies_may_be_chosen():
    groups, _ = table(
        GroupSettings(name="a", policies=("edf", "srpt")),
        GroupSettings(name="a/b", weight=2.0),
        GroupSettings(name="a/b/c", policies=()),
    )
    assert groups.policy("a/b/x", "srpt", {"composed"}) == "srpt"
    for name, policy, said in (
        ("a", "fifo", "'a' may not choose the policy 'fifo'.*edf, srpt"),
        ("a/b/c", "edf", "'a/b/c' may not choose"),
        ("other", "edf", "'other' may not choose.*`policies`"),
    ):
        with pytest.raises(Forbidden, match=said) as refused:
            groups.policy(name, policy, {"composed"})
        assert refused.value.param == "policy"
    assert groups.policy("other", "composed", {"composed"}) == "composed"  # what all cores have anyway


def test_shares_are_weights_among_siblings_times_the_share_above():
    groups, _ = table(
        GroupSettings(name="a", weight=3.0),
        GroupSettings(name="a/x", weight=1.0),
        GroupSettings(name="a/y", weight=2.0),
    )
    assert groups.weight("a") == 3.0
    assert groups.weight("other") == 1.0
    assert groups.weight("a/x") == pytest.approx(1.0)
    assert groups.weight("a/y") == pytest.approx(2.0)


def test_what_was_spent_is_known_after_a_restart():
    groups, _ = table(GroupSettings(name="g", spend=2.0, spend_period_s=1e9))
    groups.restore([GroupRow(name="g", spent=1.5, began=time.time() - 5), GroupRow(name="gone", spent=9.0)])
    assert groups.list()[0].spent == 1.5


def test_a_group_without_limits_has_none():
    groups, _ = table(GroupSettings(name="a"))
    assert groups.enter("b") is None
    assert Group(GroupSettings(name="x"), None).info().spend is None
