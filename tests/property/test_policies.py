"""All policies, driven by the simulator: nothing is lost, nobody starves, shares are what they are said to
be."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.scheduler.composed import Composed
from aios.scheduler.edf import EarliestDeadlineFirst
from aios.scheduler.fair import Fair
from aios.scheduler.fifo import Fifo
from aios.scheduler.gittins import Sizes
from aios.scheduler.locality import Locality
from aios.scheduler.mlfq import SkipJoinMlfq
from aios.scheduler.policy import CLASSES, Item, SchedulingPolicy
from aios.scheduler.priority import Priority
from aios.scheduler.program import ProgramService
from aios.scheduler.rr import RoundRobin
from aios.scheduler.simulator import Call, Engine, Session, Simulator
from aios.scheduler.srpt import ShortestRemaining

POLICIES: list[Callable[..., SchedulingPolicy]] = [
    Fifo, RoundRobin, Priority, SkipJoinMlfq, Fair, EarliestDeadlineFirst, ShortestRemaining, ProgramService,
    Locality, Composed,
]  # fmt: skip
every = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)


def item(number: int, **fields) -> Item:
    given = {"pid": number, "program": f"p{number}", "group": "g", "scheduling_class": "normal", "nice": 0}
    given |= {"priority": 0, "arrival": 0.0, "queued": 0.0, "context_tokens": 10}
    return Item(id=number, **{**given, **fields})


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
    simulator = Simulator(Engine(slots=slots), policy(quantum=quantum), quantum=quantum)
    simulator.run(crowd)
    for session in crowd:
        assert len(session.waits) == len(session.calls)
        assert session.done >= session.arrival
        # All it generated, and at least what was new of each prompt, was computed once.
        assert session.served >= sum(call.output + call.fresh for call in session.calls)
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


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 120)), min_size=30, max_size=80),
    st.integers(1, 4),
    st.sampled_from([1.0, 2.0, 5.0]),
)
def test_fair_never_lets_a_group_get_further_ahead_than_stated(outputs, slots, weight) -> None:
    quantum = 16
    most = 20 + quantum  # tokens of one stay: the prompt and a quantum
    weights = {"a": 1.0, "b": weight}
    for policy in (Fair(quantum=quantum), Composed(quantum=quantum, starve_s=math.inf)):
        crowd = [
            Session(pid, [Call(20, output)], group=group, weight=weights[group])
            for pid, (group, output) in enumerate(outputs, 1)
        ]
        simulator = Watched(Engine(slots=slots), policy, quantum=quantum)
        simulator.run(crowd)
        assert simulator.gap(weights) <= 2 * slots * most / min(weights.values())


class Watched(Simulator):
    """Remembers what groups `a` and `b` were given while both had items waiting."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.given = {"a": 0.0, "b": 0.0}
        self.spans: list[list[tuple[float, float]]] = [[]]

    def _work(self, stay, tokens: int) -> None:
        super()._work(stay, tokens)
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
@given(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=40), st.integers(0, 39), st.integers(0, 20))
def test_composed_serves_everybody_within_the_stated_bound(classes, chosen, starve_s) -> None:
    """However many better ones keep coming: after `starve_s`, 2 * (m + 1) selections."""
    policy = Composed(starve_s=starve_s)
    items = [item(n, scheduling_class=c, queued=float(n)) for n, c in enumerate(classes)]
    for one in items:
        policy.enqueue(one, one.queued)
    victim = items[chosen % len(items)]
    ahead = sum(one.queued < victim.queued for one in items)
    now = max(victim.queued + starve_s, items[-1].queued)
    for selection in range(2 * (ahead + 1)):
        rival = item(1000 + selection, scheduling_class="interactive", queued=now)
        policy.enqueue(rival, now)
        if policy.select(now, lambda item: True) is victim:
            return
    pytest.fail(f"not selected within {2 * (ahead + 1)} selections")


@given(st.integers(0, 3), st.integers(-20, 19), st.floats(0.1, 10))
def test_priority_ages_whoever_waits_past_all_that_come_later(rank, nice, aging_s) -> None:
    policy = Priority(aging_s=aging_s)
    low = item(1, scheduling_class=CLASSES[rank], nice=nice, queued=0.0)
    policy.enqueue(low, 0.0)
    later = aging_s * (40 * rank + nice + 20) + 1.0  # steps that the best item is ahead
    policy.enqueue(item(2, scheduling_class="interactive", nice=-20, queued=later), later)
    assert policy.select(later, lambda item: True) is low


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=300), st.integers(0, 200_000))
def test_the_gittins_rank_is_the_least_of_its_definition(sizes, age) -> None:
    known = Sizes(keep=64)
    for size in sizes:
        known.add(size)
    samples = [(128 << k, 1 / 13) for k in range(13)] + [(size, 1.0) for size in sizes[-64:]]
    left = [(s - age, weight) for s, weight in samples if s > age]
    expected = min(
        (sum(w * min(x, d) for x, w in left) / sum(w for x, w in left if x <= d) for d, _ in left),
        default=max(1.0, age),
    )
    assert known.rank(age) == pytest.approx(expected)


def test_programs_of_one_size_are_served_the_most_advanced_first_heavy_tailed_ones_the_least() -> None:
    alike, heavy = Sizes(), Sizes()
    for n in range(200):
        alike.add(1000 + n % 7)
        heavy.add(50 * 2 ** (n % 12))
    assert alike.rank(900) < alike.rank(500) < alike.rank(10)
    assert heavy.rank(10) < heavy.rank(5_000) < heavy.rank(60_000)
