"""The default policy's books."""

from aios.scheduler.composed import Composed
from aios.scheduler.policy import Item


def item(number: int, queued: float) -> Item:
    return Item(
        id=number, pid=number, program=f"p{number}", group="default", scheduling_class="normal", nice=0,
        priority=0, arrival=queued, queued=queued, context_tokens=8,
    )  # fmt: skip


def test_without_interrupts_nobody_leaves_before_its_end():
    running, urgent = item(1, 0.0), item(2, 1.0)
    running.quantum_used, urgent.scheduling_class = 10_000, "interactive"
    for interrupts, leaves in ((True, [running]), (False, [])):
        policy = Composed(quantum=64, interrupts=interrupts)
        policy.enqueue(running, 0.0)
        assert policy.select(0.0, lambda _: True) is running
        policy.enqueue(urgent, 1.0)
        assert policy.preempt([running], 1.0) == leaves


def test_one_that_was_taken_because_it_waited_too_long_is_not_taken_again():
    policy = Composed(starve_s=1.0)
    items = [item(number, number / 10) for number in range(6)]
    for each in items:
        policy.enqueue(each, each.queued)
    taken = [policy.select(99.0, lambda _: True) for _ in items]
    assert {each.id for each in taken if each} == {0, 1, 2, 3, 4, 5}
    assert policy.select(99.0, lambda _: True) is None
    assert len(policy) == 0
