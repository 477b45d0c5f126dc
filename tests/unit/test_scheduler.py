"""The mechanism, driven by hand: a core that takes one step whenever the test says so."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels import until
from tests.stepcore import bench

from aios import plugins
from aios.errors import CoreError, DeadlineExceeded
from aios.events import Dispatched, Interrupted, Promoted, Queued
from aios.scheduler.composed import Composed
from aios.scheduler.edf import EarliestDeadlineFirst
from aios.scheduler.fifo import Fifo
from aios.scheduler.policy import CLASSES
from aios.scheduler.priority import Priority
from aios.scheduler.rr import RoundRobin
from aios.scheduler.shares import Shares

pytestmark = pytest.mark.anyio


async def test_never_more_in_slots_than_the_core_has_and_all_are_served():
    async with bench(2, Fifo()) as b:
        calls = [b.call(i) for i in range(7)]
        await b.core.tick(20)
    assert [c.result() for c in calls] == [3] * 7
    assert b.core.most == 2
    assert b.core.order == list(range(7))


async def test_round_robin_interrupts_after_the_quantum_and_only_for_one_who_waits():
    async with bench(1, RoundRobin(quantum=2), quantum=2, length=4) as b:
        calls = [b.call(i) for i in (1, 2)]
        await b.core.tick(12)
        assert b.core.order == [1, 2, 1, 2]
        alone = b.call(3)
        await b.core.tick(6)
    assert [c.result() for c in calls] == [4, 4]
    assert alone.result() == 4
    assert b.core.order == [1, 2, 1, 2, 3]  # nobody waited: number 3 was never interrupted


async def test_closing_the_call_frees_its_slot_for_the_next():
    async with bench(1, Fifo()) as b:
        first, second = b.call(1), b.call(2)
        await b.core.tick(1)
        first.cancel()
        await b.core.tick(4)
    assert second.result() == 3
    assert b.scheduler.running == b.scheduler.waiting == 0


async def test_a_waiting_call_can_be_cancelled_without_ever_getting_a_slot():
    async with bench(1, Fifo()) as b:
        first, second = b.call(1), b.call(2)
        await b.core.tick(1)
        second.cancel()
        await b.core.tick(4)
    assert first.result() == 3
    assert b.core.order == [1]


async def test_a_call_that_is_cancelled_as_it_gets_its_slot_gives_it_back():
    async with bench(1, Fifo()) as b:
        b.scheduler.pause(1)
        call = b.call(1)
        await b.core.tick(1)
        call.cancel()
        b.scheduler.resume(1)  # it has a slot now, and its stay there did not begin
        assert b.scheduler.running == 1
        await b.core.tick(2)
        assert (b.scheduler.waiting, b.scheduler.running) == (0, 0)
        other = b.call(2, pid=2)
        await b.core.tick(6)
        assert other.result() == 3


async def test_an_error_reaches_its_caller_alone():
    async with bench(2, Fifo()) as b:
        b.core.fail.add(1)
        bad, good = b.call(1), b.call(2)
        await b.core.tick(5)
    assert isinstance(bad.result(), CoreError)
    assert good.result() == 3


async def test_pause_takes_a_process_out_of_its_slot_and_resume_lets_it_go_on():
    async with bench(2, Fifo()) as b:
        paused, other = b.call(1, pid=7), b.call(2, pid=8)
        await b.core.tick(1)
        b.scheduler.pause(7)
        late = b.call(3, pid=7)
        await b.core.tick(6)
        assert other.done()
        assert not paused.done()
        assert not b.core.inside
        b.scheduler.resume(7)
        await b.core.tick(6)
    assert paused.result() == 3
    assert late.result() == 3


async def test_a_deadline_ends_a_call_that_waits():
    async with bench(1, Fifo()) as b:
        first = b.call(1)
        late = b.call(2, deadline=time.monotonic() + 0.01)
        await asyncio.sleep(0.05)
        await b.core.tick(4)
    assert isinstance(late.result(), DeadlineExceeded)
    assert first.result() == 3


async def test_a_full_queue_makes_callers_wait_at_the_door_not_fail():
    async with bench(1, Fifo(), max_queue=2) as b:
        calls = [b.call(i) for i in range(8)]
        await b.core.tick(1)
        gone = calls.pop()
        gone.cancel()  # one at the door goes away; the others still get in
        await b.core.tick(30)
    assert [c.result() for c in calls] == [3] * 7


async def test_waits_and_interrupts_are_written_on_the_ticket_and_published():
    async with bench(1, RoundRobin(quantum=1), quantum=1, length=2) as b:
        with b.bus.subscribe() as events:
            calls = [b.call(i) for i in (1, 2)]
            await b.core.tick(8)
            b.bus.close()
            seen = [event async for event in events]
    assert [c.result() for c in calls] == [2, 2]
    assert [type(e).__name__ for e in seen if e.call == 2][:2] == [Queued.__name__, Dispatched.__name__]
    assert sum(isinstance(e, Interrupted) and e.why == "quantum" for e in seen) >= 1
    assert [e.seq for e in seen] == sorted(e.seq for e in seen)


async def test_the_policy_changes_while_calls_wait_and_none_is_lost():
    async with bench(1, Fifo()) as b:
        first = b.call(1)
        await b.core.tick(1)
        low = b.call(2, pid=2, scheduling_class="idle")
        held = b.call(3, pid=3)
        high = b.call(4, pid=4, scheduling_class="interactive")
        await b.core.tick(0)
        await asyncio.sleep(0)
        b.scheduler.pause(3)
        b.scheduler.set_policy(Priority())
        await b.core.tick(9)
        assert b.core.order == [1, 4, 2]
        b.scheduler.set_policy(Fifo())
        b.scheduler.resume(3)
        await b.core.tick(4)
    assert [c.result() for c in (first, low, held, high)] == [3] * 4


moments = st.sampled_from(
    ["call", "call", "tick", "tick", "cancel", "pause", "resume", *plugins.names(plugins.POLICIES)]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(moments, st.integers(0, 9)), max_size=40), st.integers(1, 3))
def test_whatever_the_policies_are_and_whenever_they_change_no_call_is_lost(plan, capacity) -> None:
    async def run() -> None:
        async with bench(capacity, Fifo()) as b:
            cancelled: set[asyncio.Task] = set()
            for what, number in plan:
                match what:
                    case "call":
                        many = len(b.calls) + 1
                        b.call(
                            many, pid=number, program=f"p{number % 4}", group="ab"[number % 2],
                            scheduling_class=CLASSES[number % 4], deadline=time.monotonic() + 100 + number,
                            policy=("", "fifo", "edf", "composed", "srpt")[number % 5],
                        )  # fmt: skip
                    case "tick":
                        await b.core.tick(1)
                    case "cancel" if b.calls:
                        cancelled.add(b.calls[number % len(b.calls)])
                        b.calls[number % len(b.calls)].cancel()
                    case "pause":
                        b.scheduler.pause(number)
                    case "resume":
                        b.scheduler.resume(number)
                    case "cancel":
                        pass
                    case policy:
                        b.scheduler.set_policy(plugins.load(plugins.POLICIES, policy)(quantum=2))
            for pid in range(10):
                b.scheduler.resume(pid)
            await b.core.tick(8 * len(b.calls) + 8)
            assert all(call.done() for call in b.calls)
            assert [call.result() for call in b.calls if call not in cancelled] == [3] * sum(
                call not in cancelled for call in b.calls
            )
            assert (b.scheduler.waiting, b.scheduler.running, len(b.scheduler.policy)) == (0, 0, 0)
            assert b.core.most <= capacity

    asyncio.run(run())


async def test_who_was_raised_waits_for_the_end_of_a_quantum_and_has_one_itself():
    """Under the default: where all wait for longer than `patience_s`, nobody would get anywhere else."""
    async with bench(1, Composed(quantum=4), quantum=4, length=12, patience_s=0.02) as b:
        with b.bus.subscribe() as events:
            calls = [b.call(n, pid=n) for n in (1, 2, 3)]
            await b.core.tick(1)
            raised = set[int]()
            while raised < {2, 3}:
                await asyncio.sleep(0.01)
                raised |= set(_promoted(events))
            await b.core.tick(2)
            assert b.core.inside == {1}
            await b.core.tick(2)
            assert b.core.inside == {2}
            await b.core.tick(60)
            told = [(e.call, e.generated) for e in events.unread() if isinstance(e, Interrupted)]
    assert told[0] == (1, 4)
    assert all(generated % 4 == 0 for _, generated in told)
    assert [call.result() for call in calls] == [12] * 3


async def test_a_program_is_over_when_its_last_process_is_gone():
    retired: list[str] = []

    class Noting(Fifo):
        def retire(self, program: str) -> None:
            retired.append(program)

    async with bench(2, Noting()) as b:
        b.call(1, pid=1, program="p1")
        b.call(2, pid=2, program="p1")
        await b.core.tick(4)
        b.scheduler.drop(1)
        assert retired == []
        b.scheduler.drop(2)
        b.scheduler.drop(2)
    assert retired == ["p1"]


async def test_prefill_and_decoding_are_charged_and_an_items_end_is_told():
    told: list[tuple[str, int]] = []

    class Noting(RoundRobin):
        def charge(self, item, tokens: int, now: float) -> None:
            told.append(("charge", tokens))

        def left(self, item, now: float, *, ended: bool) -> None:
            told.append(("left", ended))

    async with bench(1, Noting(quantum=2), quantum=2, length=3) as b:
        run = b.core.run

        async def with_prefill(sequence, seat):
            sequence.prefilled += 10
            async for step in run(sequence, seat):
                yield step

        b.core.run = with_prefill
        b.call(1)
        b.call(2)
        await b.core.tick(3)
        assert told == [("charge", 11), ("charge", 1), ("left", False)]
        await b.core.tick(6)
    assert sum(tokens for what, tokens in told if what == "charge") == 2 * 3 + 4 * 10
    assert [ended for what, ended in told if what == "left"] == [False, False, True, True]


async def test_who_waits_too_long_is_raised_class_by_class_and_told_of():
    async with bench(1, Priority(quantum=2), length=1000, patience_s=0.01) as b:
        b.call(1, scheduling_class="interactive")
        await b.core.tick(1)
        with b.bus.subscribe() as events:
            b.call(2, pid=2, scheduling_class="batch")
            await asyncio.sleep(0.1)
            raised = [event for event in events.unread() if isinstance(event, Promoted)]
        assert [(event.pid, event.raised) for event in raised] == [(2, 1), (2, 2)]
        assert raised[0].waited_s >= 0.01
        for call in b.calls:
            call.cancel()


@pytest.mark.parametrize("policy", [Fifo, Priority, Composed])
async def test_a_core_that_got_room_and_told_nobody_serves_all_who_wait(policy):
    """As an endpoint does whose window opens again after a refusal: raised calls get their slots then."""
    async with bench(1, policy(), patience_s=0.02, length=20) as b:
        for id in range(1, 7):
            b.call(id, pid=id, scheduling_class="batch")
        await until(lambda: b.scheduler.running == 1)
        b.core.capacity = 4
        await until(lambda: b.scheduler.running == 4)
        await b.core.tick(60)
        assert [call.result() for call in b.calls] == [20] * 6
        assert set(b.core.order) == {1, 2, 3, 4, 5, 6}
        assert b.core.most == 4
        assert b.scheduler.running == b.scheduler.waiting == 0


def _promoted(events) -> list[int]:
    return [event.call for event in events.unread() if isinstance(event, Promoted)]


async def test_a_raised_call_passes_others_where_classes_count_for_nothing():
    """Of whatever class it is; and it is raised again and again, until it gets a slot."""
    async with bench(1, EarliestDeadlineFirst(quantum=8), quantum=8, patience_s=0.02) as b:
        b.call(1)
        await until(lambda: b.scheduler.running == 1)
        with b.bus.subscribe() as events:
            b.call(2, pid=2, scheduling_class="interactive")
            await until(lambda: len(_promoted(events)) >= 2)
        assert set(_promoted(events)) == {2}
        b.call(3, pid=3, deadline=time.monotonic() + 100)
        await b.core.tick(12)
        assert b.core.order == [1, 2, 3]


async def test_what_a_call_was_given_counts_when_it_is_cancelled_while_it_waits():
    policy = Composed(quantum=2)
    async with bench(1, policy, length=8) as b:
        b.call(1, pid=1, program="a")
        await b.core.tick(1)
        b.call(2, pid=2, program="b", scheduling_class="interactive")
        await b.core.tick(2)
        assert b.core.order == [1, 2]
        b.calls[0].cancel()
        await until(lambda: b.scheduler.waiting == 0)
        b.scheduler.drop(1)
        assert [size > 0 for size in policy.learned()[""]] == [True]
        b.calls[1].cancel()


async def test_calls_under_policies_of_their_choice_run_and_outlive_a_change_of_the_cores():
    async with bench(1, Fifo()) as b:
        held = b.call(1)
        late = b.call(2, pid=2, policy="edf", deadline=time.monotonic() + 900)
        soon = b.call(3, pid=2, policy="edf", deadline=time.monotonic() + 100)
        same = b.call(4, pid=4, policy="fifo")  # the core's: no choice
        await until(lambda: b.scheduler.waiting == 3)
        assert isinstance(b.scheduler.policy, Shares)
        assert b.scheduler.policy.chosen == ("edf",)
        b.scheduler.set_policy(RoundRobin(quantum=2))
        assert (b.scheduler.policy.name, len(b.scheduler.policy)) == ("rr", 3)
        await b.core.tick(30)
        assert [call.result() for call in (held, late, soon, same)] == [3] * 4
        assert b.core.order.index(3) < b.core.order.index(2)
        b.scheduler.set_policy(Composed())
        assert isinstance(b.scheduler.policy, Composed)  # nobody chooses any more: no share to keep


async def test_who_named_the_policy_in_force_keeps_it_when_the_cores_changes():
    async with bench(1, EarliestDeadlineFirst()) as b:
        held = b.call(1)
        late = b.call(2, pid=2, policy="edf", deadline=time.monotonic() + 900)
        soon = b.call(3, pid=2, policy="edf", deadline=time.monotonic() + 100)
        other = b.call(4, pid=4, deadline=time.monotonic() + 50)
        await until(lambda: b.scheduler.waiting == 3)
        assert isinstance(b.scheduler.policy, EarliestDeadlineFirst)  # so far there is one queue for all
        b.scheduler.set_policy(EarliestDeadlineFirst())
        assert isinstance(b.scheduler.policy, EarliestDeadlineFirst)
        b.scheduler.set_policy(Fifo())
        assert isinstance(b.scheduler.policy, Shares)
        assert (b.scheduler.policy.name, b.scheduler.policy.chosen) == ("fifo", ("edf",))
        b.scheduler.set_policy(RoundRobin(quantum=2))
        await b.core.tick(40)
        assert [call.result() for call in (held, late, soon, other)] == [3] * 4
        assert b.core.order.index(3) < b.core.order.index(2)
        b.scheduler.set_policy(Composed())
        assert isinstance(b.scheduler.policy, Composed)


@pytest.mark.parametrize("paused", [True, False])
async def test_who_named_the_policy_in_force_keeps_it_though_it_runs_or_is_paused(paused):
    async with bench(1, Fifo()) as b:
        b.call(1, policy="fifo")
        await b.core.tick(1)
        if paused:
            b.scheduler.pause(1)
            await b.core.tick(1)
            assert b.scheduler.running == 0
        b.scheduler.set_policy(RoundRobin(quantum=2))
        assert isinstance(b.scheduler.policy, Shares)
        assert b.scheduler.policy.chosen == ("fifo",)
        b.scheduler.resume(1)
        await b.core.tick(6)
        assert b.calls[0].result() == 3
        assert (len(b.scheduler.policy), b.scheduler.policy.chosen) == (0, ())


async def test_a_paused_call_keeps_its_choice():
    async with bench(1, Fifo()) as b:
        b.call(1, pid=1)
        b.call(2, pid=2, policy="srpt")
        await until(lambda: b.scheduler.waiting == 1)
        b.scheduler.pause(2)
        b.scheduler.set_policy(RoundRobin(quantum=2))
        b.scheduler.resume(2)
        assert isinstance(b.scheduler.policy, Shares)
        assert b.scheduler.policy.chosen == ("srpt",)
        await b.core.tick(12)
    assert [call.result() for call in b.calls] == [3, 3]
