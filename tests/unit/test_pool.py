"""Which core of a pool a call goes to: real schedulers and contexts over cores that stand still."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest
from tests.twins import moves, twins

from aios.events import CoreChanged

pytestmark = pytest.mark.anyio

ANN, BOB, CYD = 1, 2, 3
SYSTEM = list(range(1000, 1200))
ASKS = {pid: [*SYSTEM, *range(10_000 * pid, 10_000 * pid + 20)] for pid in range(1, 40)}
OTHER = list(range(300))


async def test_of_idle_cores_the_one_that_holds_the_prefix_gets_the_call(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        _, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        assert pool.pool.route("m", BOB) is not second  # nobody knows Bob: any core could prepare his call
        member, _, ticket = await pool.settle(BOB, ASKS[BOB])
        assert member is second
        assert ticket.coming is not None


async def test_a_prefix_of_another_privilege_group_counts_for_nothing(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        first, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        _, sequence, ticket = await pool.settle(BOB, ASKS[BOB])
        sequence.group = "others"
        assert await pool.pool.settle(first, [sequence], ticket) is first


async def test_a_short_wait_at_the_holder_is_better_than_computing(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        _, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        second.scheduler.backlog.served(-8.5)  # 0.05 s a call; SYSTEM takes 2 s
        assert await pool.begin(BOB, ASKS[BOB]) is second
        assert await pool.begin(CYD, ASKS[CYD]) is second


async def test_a_long_wait_at_the_holder_is_worse_than_computing(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        first, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        second.scheduler.backlog.served(50.0)  # about 6 s a call
        assert await pool.begin(BOB, ASKS[BOB]) is second
        assert await pool.begin(CYD, ASKS[CYD]) is first


async def test_equal_cores_are_filled_evenly(tmp_path: Path) -> None:
    async with twins(tmp_path, 3, slots=4) as pool:
        chosen = Counter([(await pool.begin(pid, list(range(pid)))).core.name for pid in range(1, 13)])
        assert set(chosen.values()) == {4}


async def test_prompts_that_are_being_computed_are_waited_for(tmp_path: Path) -> None:
    async with twins(tmp_path, slots=4) as pool:
        first, second = pool.members
        assert await pool.begin(ANN, list(range(2000))) is first  # 20 s
        assert [await pool.begin(pid, ASKS[pid][len(SYSTEM) :]) for pid in (2, 3, 4)] == [second] * 3


async def test_cores_that_share_nothing_are_filled_evenly_too_but_for_who_was_there(tmp_path: Path) -> None:
    async with twins(tmp_path, slots=4) as pool:
        first, second = pool.members
        await pool.held(ANN, OTHER, at=second)
        assert pool.pool.route("m", ANN) is second
        await pool.begin(BOB, [1], at=first)
        await pool.begin(BOB, [1], at=first)
        first.scheduler.backlog.seated(-1e9)
        assert pool.pool.route("m", BOB) is first
        assert pool.pool.route("m", CYD) is second


async def test_calls_that_are_sent_at_once_see_each_other(tmp_path: Path) -> None:
    """None of them has reached its core when the next is sent."""
    async with twins(tmp_path, 3) as pool:
        sent = await asyncio.gather(*(pool.settle(pid, ASKS[pid]) for pid in range(1, 7)))
        assert [member.scheduler.waiting + member.scheduler.running for member in pool.members] == [0, 0, 0]
        assert set(Counter(member.core.name for member, _, _ in sent).values()) == {2}


async def test_first_calls_with_one_system_prompt_do_not_pile_up_at_its_holder(tmp_path: Path) -> None:
    async with twins(tmp_path, 2, slots=2) as pool:
        _, second = pool.members
        await pool.held(ANN, SYSTEM, at=second)
        chosen = [(await pool.begin(pid, ASKS[pid])) for pid in range(2, 26)]
        assert chosen[0] is second
        counts = Counter(member.core.name for member in chosen)
        assert min(counts.values()) >= 8


async def test_a_call_is_counted_once_from_when_it_is_sent_until_it_is_over(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        first, _ = pool.members
        member, sequence, ticket = await pool.settle(ANN, ASKS[ANN])
        assert member is first
        backlog = first.scheduler.backlog
        assert (backlog.coming, backlog.load) == (1, 1.0)
        steps = first.scheduler.submit(sequence, ticket)
        step = asyncio.ensure_future(anext(steps))
        await asyncio.sleep(0)
        assert (backlog.coming, backlog.coming_s, backlog.load) == (0, 0.0, 1.0)
        await pool.core(first).tick()
        await step
        await steps.aclose()
        assert backlog.load == 0.0


async def test_a_call_that_never_reaches_its_core_is_not_counted_for_ever(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        before = [(member.scheduler.backlog.wait_s, member.scheduler.backlog.load) for member in pool.members]
        _, _, ticket = await pool.settle(ANN, ASKS[ANN], count=3)
        assert [member.scheduler.backlog.coming for member in pool.members] == [3, 0]
        assert ticket.coming is not None
        ticket.coming.give_up()
        ticket.coming.give_up()
        after = [(member.scheduler.backlog.wait_s, member.scheduler.backlog.load) for member in pool.members]
        assert after == before


async def test_a_context_is_moved_where_that_is_quicker_than_waiting_and_computing(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        first, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        await pool.begin(BOB, OTHER, at=second)
        with pool.bus.subscribe() as events:
            member, sequence, _ = await pool.settle(ANN, [*ASKS[ANN], 1, 2, 3])
            assert member is first
            assert first.scheduler.cached(sequence) >= len(ASKS[ANN])
            assert second.scheduler.cached(sequence) == 0
            assert ANN in moves(events)


async def test_what_is_quickly_computed_is_not_moved(tmp_path: Path) -> None:
    async with twins(tmp_path, prefill_s=0.0001) as pool:
        first, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        await pool.begin(BOB, OTHER, at=second)
        with pool.bus.subscribe() as events:
            member, sequence, _ = await pool.settle(ANN, [*ASKS[ANN], 1, 2, 3])
            assert member is first
            assert first.scheduler.cached(sequence) == 0
            assert second.scheduler.cached(sequence) >= len(ASKS[ANN])
            assert moves(events) == []


async def test_two_calls_of_one_process_copy_its_context_once(tmp_path: Path) -> None:
    async with twins(tmp_path, 3) as pool:
        *_, third = pool.members
        await pool.held(ANN, ASKS[ANN], at=third)
        third.scheduler.backlog.seated(60.0)
        sent = await asyncio.gather(*(pool.settle(ANN, [*ASKS[ANN], pid]) for pid in (1, 2)))
        assert third not in [member for member, _, _ in sent]
        assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("gone", [False, True])
async def test_a_core_that_fails_while_it_sends_a_context_costs_computing_it(
    tmp_path: Path, gone: bool
) -> None:
    async with twins(tmp_path) as pool:
        first, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        second.scheduler.backlog.seated(60.0)
        pool.core(second).keeper.gone = gone
        member, sequence, ticket = await pool.settle(ANN, [*ASKS[ANN], 7])
        assert pool.core(second).keeper.asked == 1
        assert member is first
        assert (first.scheduler.cached(sequence) > 0) is not gone
        assert ticket.coming is not None
        assert first.scheduler.backlog.coming == 1


async def test_a_core_that_is_down_gets_no_call_though_it_holds_the_prefix(tmp_path: Path) -> None:
    async with twins(tmp_path) as pool:
        first, second = pool.members
        await pool.held(ANN, ASKS[ANN], at=second)
        pool.bus.publish(CoreChanged(core=second.core.name, state="lost"))
        member, sequence, _ = await pool.settle(ANN, [*ASKS[ANN], 7])
        assert member is first
        # One that was prepared by the core that is down goes elsewhere too; and there again when it is back.
        assert await pool.pool.settle(second, [sequence], (await pool.settle(BOB, OTHER))[2]) is first
        pool.bus.publish(CoreChanged(core=second.core.name, state="restarted"))
        assert (await pool.settle(ANN, [*ASKS[ANN], 7]))[0] is second


async def test_calls_of_a_failed_core_go_where_their_prefix_is(tmp_path: Path) -> None:
    async with twins(tmp_path, 3) as pool:
        first, second, third = pool.members
        await pool.held(ANN, ASKS[ANN], at=third)
        _, sequence, _ = await pool.settle(BOB, ASKS[BOB])
        refuge = await pool.pool.refuge(first, sequence, {first.core.name}, begun=True)
        assert refuge is not None
        assert refuge[0] is third
        refuge = await pool.pool.refuge(third, sequence, {third.core.name, first.core.name}, begun=True)
        assert refuge is not None
        assert refuge[0] is second
        everywhere = {member.core.name for member in pool.members}
        assert await pool.pool.refuge(first, sequence, everywhere, begun=True) is None
