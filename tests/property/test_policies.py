"""All policies, driven by the simulator: nothing is lost, nobody starves, shares are what they are said to
be."""

import math
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.items import item

from aios.scheduler.composed import Composed
from aios.scheduler.edf import EarliestDeadlineFirst
from aios.scheduler.fair import Fair
from aios.scheduler.fifo import Fifo
from aios.scheduler.gittins import Sizes
from aios.scheduler.load import Call, Session
from aios.scheduler.locality import Locality
from aios.scheduler.mlfq import SkipJoinMlfq
from aios.scheduler.policy import CLASSES, Item, SchedulingPolicy, rises_under
from aios.scheduler.priority import Priority
from aios.scheduler.program import ProgramService
from aios.scheduler.rr import RoundRobin
from aios.scheduler.simulator import Simulator
from aios.scheduler.srpt import ShortestRemaining
from aios.scheduler.virtual import VirtualCore

POLICIES: list[Callable[..., SchedulingPolicy]] = [
    Fifo, RoundRobin, Priority, SkipJoinMlfq, Fair, EarliestDeadlineFirst, ShortestRemaining, ProgramService,
    Locality, Composed,
]  # fmt: skip
every = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)


calls = st.builds(Call, fresh=st.integers(0, 300), output=st.integers(1, 200), gap_s=st.floats(0, 2))
sessions = st.builds(
    dict,
    calls=st.lists(calls, min_size=1, max_size=4),
    arrival=st.floats(0, 5),
    group=st.sampled_from(["a", "b", "c"]),
    scheduling_class=st.sampled_from(CLASSES),
    nice=st.integers(-20, 19),
    shared=st.integers(0, 50),
)


@every
@settings(max_examples=40, deadline=None)
@given(st.lists(sessions, min_size=1, max_size=12), st.integers(1, 4), st.integers(1, 64))
def test_every_call_is_served_in_full_and_no_slot_idles(policy, plan, slots, quantum) -> None:
    crowd = [Session(pid, **fields) for pid, fields in enumerate(plan, 1)]
    simulator = Simulator([VirtualCore(policy(quantum=quantum), slots=slots, quantum=quantum)])
    simulator.run(crowd)
    for session in crowd:
        assert session.over
        assert session.done >= session.arrival
        assert session.generated == sum(call.output for call in session.calls)
    assert simulator.now >= max(session.done for session in crowd)


steps = st.lists(
    st.tuples(st.sampled_from(["enqueue", "withdraw", "select", "charge", "end"]), st.integers(0, 7)),
    max_size=60,
)


@every
@given(steps)
def test_an_item_is_selected_once_for_each_time_it_is_enqueued(policy, plan) -> None:
    """Against a set as the model: whatever comes in whichever order."""
    queue = policy(quantum=4)
    items = [
        item(n, group="ab"[n % 2], context_tokens=n * 100, deadline=None if n % 3 else n) for n in range(8)
    ]
    waiting: set[Item] = set()
    running: set[Item] = set()
    now = 0.0
    for what, number in plan:
        now += 1.0
        one = items[number]
        if what == "enqueue" and one not in waiting and one not in running:
            one.queued = now
            queue.enqueue(one, now)
            waiting.add(one)
        elif what == "withdraw" and one not in running:
            queue.withdraw(one)
            waiting.discard(one)
        elif what == "select":
            found = queue.select(now, lambda item: item.id != 3)  # one that never fits
            assert (found is None) == (not waiting - {items[3]})
            if found:
                waiting.remove(found)
                running.add(found)
        elif what == "charge" and one in running:
            one.attained += 5
            one.quantum_used += 5
            queue.charge(one, 5, now)
            out = queue.preempt(list(running), now)
            assert set(out) <= running
            assert len(set(out)) == len(out) <= len(waiting)
        elif what == "end" and one in running:
            running.remove(one)
            queue.left(one, now, ended=True)
        assert len(queue) == len(waiting)


CALLS_OF_TWO_GROUPS = [("b", 65), *(("a", n) for n in (66, 75, 82, 1, 60, 73, 33, *[1] * 12))] + [
    ("b", n) for n in (66, 74, 81, 1, 1, 24, 16, 17, 17, 18)
]
"""Of one group several must leave in one step, or the gap is too large."""


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 120)), min_size=30, max_size=80),
    st.integers(1, 4),
    st.sampled_from([1.0, 2.0, 5.0]),
)
@example(CALLS_OF_TWO_GROUPS, 2, 1.0)
def test_fair_never_lets_a_group_get_further_ahead_than_stated(outputs, slots, weight) -> None:
    quantum = 16
    most = 20 + quantum  # tokens of one stay: the prompt and a quantum
    weights = {"a": 1.0, "b": weight}
    for policy in (Fair(quantum=quantum), Composed(quantum=quantum, starve_s=math.inf)):
        crowd = [
            Session(pid, [Call(20, output)], group=group, weight=weights[group])
            for pid, (group, output) in enumerate(outputs, 1)
        ]
        core = Watched(policy, slots=slots, quantum=quantum)
        Simulator([core]).run(crowd)
        assert core.gap(weights) <= 2 * slots * most / min(weights.values())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 120)), min_size=30, max_size=80),
    st.integers(1, 4),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.integers(1, 60),
)
def test_locality_never_lets_a_group_get_further_ahead_than_stated(outputs, slots, weight, refill) -> None:
    quantum = 16
    most = 20 + 2 * quantum  # of one stay: the prompt, and whole quanta until it generated as many
    weights = {"a": 1.0, "b": weight}
    crowd = [
        Session(pid, [Call(20, output)], group=group, weight=weights[group])
        for pid, (group, output) in enumerate(outputs, 1)
    ]
    core = Watched(Locality(quantum=quantum, refill=refill), slots=slots, quantum=quantum)
    Simulator([core]).run(crowd)
    assert core.gap(weights) <= 2 * (refill + slots * most)


class Watched(VirtualCore):
    """Remembers what groups `a` and `b` were given while both had items waiting."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.given = {"a": 0.0, "b": 0.0}
        self.spans: list[list[tuple[float, float]]] = [[]]

    def _charge(self, stay, tokens: int, now: float) -> None:
        super()._charge(stay, tokens, now)
        self.given[stay.session.group] += tokens
        waiting = {s.session.group for s in self._stays.values() if s not in self._running}
        if waiting >= {"a", "b"}:
            self.spans[-1].append((self.given["a"], self.given["b"]))
        else:
            self.spans.append([])

    def gap(self, weights: dict[str, float]) -> float:
        """The most that one group gained on the other, over all spans in which both waited."""
        worst = 0.0
        for span in self.spans:
            ahead = [a / weights["a"] - b / weights["b"] for a, b in span]
            worst = max(worst, max(ahead, default=0.0) - min(ahead, default=0.0))
        return worst


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(1, 500)), min_size=2, max_size=30),
    st.integers(0, 29),
    st.integers(0, 20),
    st.sampled_from([0.0, 1.0, 3.0]),
)
def test_composed_serves_everybody_within_the_stated_bound(crowd, chosen, starve_s, relief) -> None:
    """However many better ones keep coming: after `starve_s`, so much work and 2 * (m + 1) selections."""
    policy = Composed(starve_s=starve_s, relief=relief)
    before = item(900, queued=-100.0, context_tokens=70)  # relieved just before, not paid back yet
    policy.enqueue(before, -100.0)
    assert policy.select(0.0, lambda item: True) is before
    items = [
        item(n, scheduling_class=c, queued=float(n), context_tokens=tokens)
        for n, (c, tokens) in enumerate(crowd)
    ]
    for one in items:
        policy.enqueue(one, one.queued)
    victim = items[chosen % len(items)]
    ahead = [one for one in items if one.queued < victim.queued]
    now = max(victim.queued + starve_s, items[-1].queued)
    owed = (1 + relief) * before.uncached
    done = 0.0
    for selection in range(2 * (len(ahead) + 1)):
        rival = item(1000 + selection, scheduling_class="interactive", queued=now)
        policy.enqueue(rival, now)
        policy.charge(rival, math.ceil(owed), now)  # paid back: selections before that do not count
        done += owed
        selected = policy.select(now, lambda item: True)
        if selected is victim:
            assert done <= (1 + relief) * sum(one.uncached for one in [before, *ahead])
            return
        owed = (1 + relief) * selected.uncached if selected in ahead else 0.0
    pytest.fail(f"not selected within {2 * (len(ahead) + 1)} selections")


def test_composed_pays_a_relief_back_before_the_next_one() -> None:
    """Else computing the contexts of the overdue again would be most of the work when all are overdue."""
    policy = Composed(starve_s=1.0, relief=3.0)
    cold = [item(n, scheduling_class="idle", context_tokens=100) for n in range(3)]
    for one in cold:
        policy.enqueue(one, 0.0)
    hot = [item(10 + n, context_tokens=100, resident_tokens=99) for n in range(40)]
    for one in hot:
        policy.enqueue(one, 0.0)
    order = []
    while len(policy):
        order.append(policy.select(10.0, lambda item: True))
        policy.charge(order[-1], 40, 10.0)
    assert [order.index(one) for one in cold] == [0, 10, 20]


NO_CLASSES = [policy for policy in POLICIES if policy not in (Priority, Composed)]


@pytest.mark.parametrize("policy", NO_CLASSES, ids=lambda policy: policy.name)
@pytest.mark.parametrize("scheduling_class", CLASSES)
def test_who_is_raised_once_goes_before_all_who_came_later_though_classes_count_for_nothing(
    policy, scheduling_class
) -> None:
    """However much better they are otherwise."""
    ready = policy()
    before = item(1, program="p", attained=100_000)
    ready.enqueue(before, 0.0)
    assert ready.select(0.0, lambda _: True) is before
    ready.left(before, 0.0, ended=True)
    waits = item(
        2, program="p", queued=1.0, arrival=1.0, context_tokens=9000, expected_tokens=9000,
        scheduling_class=scheduling_class,
    )  # fmt: skip
    ready.enqueue(waits, 1.0)
    assert isinstance(ready, Fifo | Fair) or rises_under(ready, waits)
    waits.raised = 1
    ready.enqueue(waits, 2.0)
    for number in range(3, 6):
        came = float(number)
        better = item(number, queued=came, arrival=came, deadline=came + 1, resident_tokens=10)
        ready.enqueue(better, came)
    assert ready.select(6.0, lambda _: True) is waits
    assert len(ready) == 3


@pytest.mark.parametrize("policy", [Composed, ProgramService])
def test_service_counts_for_the_program_of_a_call_that_was_cancelled_while_it_waited(policy) -> None:
    scheduler, call = policy(), item(1, program="p")
    scheduler.enqueue(call, 0.0)
    scheduler.select(0.0, lambda _: True)
    call.attained = 50_000
    scheduler.left(call, 1.0, ended=False)
    scheduler.enqueue(call, 1.0)
    scheduler.left(call, 2.0, ended=True)
    scheduler.withdraw(call)
    assert len(scheduler) == 0
    again, other = item(2, program="p"), item(3, program="q")
    for each in (again, other):
        scheduler.enqueue(each, 3.0)
    assert scheduler.level_of(again) > scheduler.level_of(other)


@pytest.mark.parametrize("scheduling_class", CLASSES[1:])
def test_under_composed_who_is_raised_is_relieved_in_every_other_selection_and_counts_as_no_better_class(
    scheduling_class,
) -> None:
    composed = Composed(quantum=4, starve_s=1000.0)
    had = {"resident_tokens": 10}
    late = [item(n, queued=float(n), scheduling_class=scheduling_class, raised=1, **had) for n in (1, 2)]
    urgent = [item(n, queued=float(n), scheduling_class="interactive", **had) for n in (3, 4, 5)]
    for each in (*late, *urgent):
        composed.enqueue(each, each.queued)
    assert [rises_under(composed, each) for each in (*late, *urgent)] == [False, False, True, True, True]
    chosen = [composed.select(6.0, lambda _: True) for _ in range(4)]
    assert [each.id for each in chosen if each] == [1, 3, 2, 4]
    running = item(9, scheduling_class=scheduling_class, raised=1, **had)
    assert composed.preempt([running], 6.0) == [running]  # number 5 is interactive


def test_what_relieves_who_was_raised_is_paid_back_before_the_next_one() -> None:
    composed = Composed(quantum=4, starve_s=1000.0, relief=10.0)
    for number in range(1, 4):
        composed.enqueue(item(number, queued=float(number), raised=1, context_tokens=100), 4.0)
    for number in range(4, 8):
        resident = item(number, queued=float(number), context_tokens=100, resident_tokens=100)
        composed.enqueue(resident, 8.0)
    first, *rest = [composed.select(9.0, lambda _: True) for _ in range(4)]
    assert first
    assert first.id == 1
    assert all(each and each.resident_tokens for each in rest)
    composed.charge(first, 11 * 100, 9.0)
    after = composed.select(9.0, lambda _: True)
    assert after
    assert after.id == 2


def test_inside_a_group_composed_serves_the_highest_priority_less_nice_first() -> None:
    composed = Composed()
    fields = ({"nice": 19}, {}, {"priority": 5}, {"nice": -20}, {"group": "h", "nice": 19})
    for number, given_ in enumerate(fields, 1):
        composed.enqueue(item(number, queued=float(number), **given_), 6.0)
    composed.charge(item(6), 1, 6.0)  # the others' group had a token, h none
    chosen = [composed.select(6.0, lambda _: True) for _ in fields]
    assert [each.id for each in chosen if each] == [5, 4, 3, 2, 1]


def test_composed_looks_at_all_who_wait_anew_only_as_often_as_what_it_knows_doubles() -> None:
    composed, looked = Composed(), [0]
    waiting = item(0, queued=1.0, kind="k")

    class Watched(type(waiting)):
        @property
        def uncached(self) -> int:
            looked[0] += 1
            return 10

    composed.enqueue(Watched(**{name: getattr(waiting, name) for name in waiting.__struct_fields__}), 1.0)
    for number in range(1, 1001):
        done = item(number, kind="k", program=f"q{number}", quantum_used=1, attained=number)
        composed.enqueue(done, 2.0)
        composed.withdraw(done)
        composed.left(done, 2.0, ended=True)
        composed.retire(f"q{number}")
    assert 2 < looked[0] <= 2 * (1 + 10)  # for the rank, and for what is left of the call


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 3))
def test_composed_relieves_the_longest_wait_first_whoever_was_enqueued_first(queued, among) -> None:
    """As after a change of the policy; every other selection is a relief, for nothing is uncached."""
    composed = Composed(starve_s=1.0)
    waiting = [item(n, queued=float(at), resident_tokens=10) for n, at in enumerate(queued)]
    for each in waiting:
        composed.enqueue(each, 20.0)
    for selection in range(len(queued)):
        fitting = [each for each in waiting if each.id % among == 0]
        got = composed.select(30.0, lambda each: each.id % among == 0)
        assert (got is None) == (not fitting)
        if got is None:
            break
        if selection % 2 == 0:
            assert got.queued == min(each.queued for each in fitting)
        waiting.remove(got)
        assert len(composed) == len(waiting)


def test_composed_forgets_whom_it_relieved_until_it_comes_again() -> None:
    """It is in the queue of its class too."""
    policy = Composed(starve_s=1.0)
    overdue = item(1, scheduling_class="batch")
    policy.enqueue(overdue, 0.0)
    assert policy.select(10.0, lambda item: True) is overdue
    later = item(2, queued=10.0)
    policy.enqueue(later, 10.0)
    assert policy.select(10.0, lambda item: True) is later
    assert policy.select(10.0, lambda item: True) is None


def test_composed_lets_whom_it_relieves_have_a_quantum() -> None:
    policy = Composed(quantum=4, starve_s=1.0)
    idle, rival = item(1, scheduling_class="idle"), item(2, scheduling_class="interactive", queued=5.0)
    for one in (idle, rival):
        policy.enqueue(one, one.queued)
    assert policy.select(5.0, lambda item: True) is idle
    assert policy.preempt([idle], 5.0) == []
    idle.quantum_used = 4
    assert policy.preempt([idle], 6.0) == [idle]


@given(st.integers(0, 3), st.integers(-20, 19), st.floats(0.1, 10))
def test_priority_ages_whoever_waits_past_all_that_come_later(rank, nice, aging_s) -> None:
    policy = Priority(aging_s=aging_s)
    low = item(1, scheduling_class=CLASSES[rank], nice=nice, queued=0.0)
    policy.enqueue(low, 0.0)
    later = aging_s * (40 * rank + nice + 20) + 1.0  # steps that the best item is ahead
    policy.enqueue(item(2, scheduling_class="interactive", nice=-20, queued=later), later)
    assert policy.select(later, lambda item: True) is low


@given(
    st.lists(st.integers(1, 100_000), min_size=1, max_size=300), st.integers(0, 200_000), st.integers(0, 5000)
)
def test_the_gittins_rank_is_the_least_of_its_definition(sizes, age, setup) -> None:
    known = Sizes(keep=64)
    for size in sizes:
        known.add(size)
    samples = [(512 << k, 1 / 11) for k in range(11)] + [(size, 1.0) for size in sizes[-64:]]
    left = [(s - age, weight) for s, weight in samples if s > age]
    expected = min(
        (sum(w * (setup + min(x, d)) for x, w in left) / sum(w for x, w in left if x <= d) for d, _ in left),
        default=setup + max(1.0, age),
    )
    assert known.rank(age, setup) == pytest.approx(expected)


def test_a_program_whose_context_must_be_computed_again_comes_after_its_like() -> None:
    policy = Composed()
    cold, warm = (item(n, program=f"p{n}", context_tokens=3000) for n in (1, 2))
    warm.resident_tokens = 2990
    for one in (cold, warm):
        policy.enqueue(one, 0.0)
    assert policy.level_of(warm) < policy.level_of(cold)


def test_programs_of_one_size_are_served_the_most_advanced_first_heavy_tailed_ones_the_least() -> None:
    alike, heavy = Sizes(), Sizes()
    for n in range(200):
        alike.add(1000 + n % 7)
        heavy.add(50 * 2 ** (n % 12))
    assert alike.rank(900) < alike.rank(500) < alike.rank(10)
    assert heavy.rank(10) < heavy.rank(5_000) < heavy.rank(60_000)
