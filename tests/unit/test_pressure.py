"""Memory pressure: who sees it, what it does to the default order, when it ends."""

import msgspec

from aios.context.residency import Residency
from aios.cores.core import ContextSpec, Sequence
from aios.events import EventBus
from aios.scheduler.composed import Composed
from aios.scheduler.policy import Item
from aios.scheduler.pressure import Pressure
from aios.syscalls import Generate


def item(number: int, **fields) -> Item:
    base = Item(
        id=number, pid=number, program=f"p{number}", group="default", scheduling_class="normal", nice=0,
        priority=0, arrival=0.0, queued=0.0, context_tokens=1000,
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


def order(policy: Composed) -> list[int]:
    return [each.id for _ in range(len(policy)) if (each := policy.select(0.0, lambda _: True))]


def test_pressure_lasts_for_twice_the_work_that_all_contexts_took():
    pressure = Pressure(span=2.0, slack=64)
    pressure.keeps("a", 1000)
    pressure.keeps("b", 3000)
    pressure.keeps("b", 2000)
    pressure.came(item(1, dropped_tokens=64))
    assert not pressure.high
    pressure.came(item(1, dropped_tokens=65))
    pressure.worked(5999)
    assert pressure.high
    pressure.worked(1)
    assert not pressure.high
    pressure.forget("b")
    pressure.came(item(1, dropped_tokens=500))
    pressure.worked(2000)
    assert not pressure.high


def test_under_pressure_whoever_has_its_context_goes_first_however_much_it_had():
    policy = Composed()
    veteran, fresh = item(1, attained=50_000, resident_tokens=900), item(2, context_tokens=10)
    policy.enqueue(veteran, 0.0)
    policy.enqueue(fresh, 0.0)
    assert order(policy) == [2, 1]  # nothing is known of them: the least attained first
    for each in (veteran, fresh):
        policy.enqueue(each, 0.0)
    policy.enqueue(item(3, dropped_tokens=800), 0.0)
    assert order(policy) == [1, 2, 3]
    policy.charge(veteran, 2000, 0.0)
    for each in (veteran, fresh):
        policy.enqueue(each, 0.0)
    assert order(policy) == [2, 1]


def test_who_waits_is_ordered_by_what_is_learned_meanwhile():
    policy = Composed()
    waiting = [item(1, kind="long", context_tokens=10), item(2, kind="short", context_tokens=12)]
    for each in waiting:
        policy.enqueue(each, 0.0)
    for program, kind, size in (("x", "long", 90_000), ("y", "short", 100)):
        done = item(9, program=program, kind=kind, attained=size)
        policy.enqueue(done, 0.0)
        policy.withdraw(done)
        policy.left(done, 0.0, ended=True)
        policy.retire(program)
    assert order(policy) == [2, 1]


def test_the_residency_tells_what_was_dropped_and_nothing_else():
    """Two slots' worth of conversations in one slot, without parking memory."""
    spec = ContextSpec(bytes_base=64, bytes_per_token=64, ram_bytes=0)
    residency = Residency(spec, 1, EventBus())

    def call(number: int, pid: int, tokens: list[int]) -> Sequence:
        sequence = Sequence(number, Generate(prompt=""), pid, "all", tokens=tokens)
        residency.enter(sequence)
        return sequence

    def serve(sequence: Sequence) -> None:
        assert residency.seat(sequence)
        sequence.generated, sequence.kv = [7, 7], len(sequence.tokens) + 1
        residency.leave(sequence)
        residency.exit(sequence)

    first, second = list(range(100)), list(range(500, 600))
    serve(call(1, 1, first))
    assert residency.dropped(call(2, 1, [*first, 7, 7, 8])) == 0  # still in the slot
    serve(call(3, 2, second))
    assert residency.dropped(call(4, 1, [*first, 7, 7, 8])) == 101  # all of it that was computed
    assert residency.dropped(call(5, 1, [1, 2, 3])) == 0  # another conversation
    assert residency.dropped(call(6, 3, second)) == 0  # it never had one
