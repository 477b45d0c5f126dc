"""Calls that choose their policy: nobody gets more than a share by it, and nobody less."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios import plugins
from aios.scheduler.composed import Composed
from aios.scheduler.costs import Costs
from aios.scheduler.fifo import Fifo
from aios.scheduler.load import Call, Session
from aios.scheduler.policy import CLASSES, Item
from aios.scheduler.shares import Shares
from aios.scheduler.simulator import Simulator
from aios.scheduler.virtual import VirtualCore
from aios.scheduler.weights import Weights

NAMES = ["", "edf", "srpt", "fifo", "mlfq", "program"]
QUANTUM = 8


def make(name: str):
    return plugins.load(plugins.POLICIES, name)(quantum=QUANTUM)


def item(number: int, **fields) -> Item:
    given = {"pid": number, "program": f"p{number}", "group": "g", "scheduling_class": "normal", "nice": 0}
    given |= {"priority": 0, "arrival": 0.0, "queued": 0.0, "context_tokens": 10}
    return Item(id=number, **{**given, **fields})


def anybody(item: Item) -> bool:
    return True


class Watched(Shares):
    """Remembers how far a queue got ahead of one in which somebody waits, and the largest that it may be."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.worst, self.least, self.longest = 0.0, math.inf, 0
        self.stays: dict[Item, int] = {}

    def select(self, now, fits):
        if found := super().select(now, fits):
            self.stays[found] = 0
        return found

    def charge(self, item, tokens, now) -> None:
        self.least = min(self.least, self._weights.of(item.policy))
        super().charge(item, tokens, now)
        if item.quantum_used <= QUANTUM:  # from the seating to the end of the quantum
            self.stays[item] += tokens
            self.longest = max(self.longest, self.stays[item])
        behind = min((self._served[name] for name in self._waiting()), default=math.inf)
        self.worst = max(self.worst, self._served[item.policy] - behind)


calls = st.builds(Call, fresh=st.integers(1, 60), output=st.integers(1, 60))
crowds = st.lists(
    st.builds(
        dict,
        calls=st.lists(calls, min_size=1, max_size=3),
        arrival=st.floats(0, 3),
        policy=st.sampled_from(NAMES),
        group=st.sampled_from(["a", "b", "c"]),
        scheduling_class=st.sampled_from(CLASSES),
    ),
    min_size=2,
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(crowds, st.integers(1, 4), st.sampled_from([1.0, 3.0]))
def test_no_queue_gets_further_ahead_of_one_that_waits_than_stated(crowd, slots, weight) -> None:
    weights = {"a": 1.0, "b": weight, "c": 0.5}
    sessions = [Session(pid, weight=weights[each["group"]], **each) for pid, each in enumerate(crowd, 1)]
    shares = Watched(Composed(quantum=QUANTUM), make, quantum=QUANTUM)
    Simulator([VirtualCore(shares, slots=slots, quantum=QUANTUM)]).run(sessions)
    assert all(session.over for session in sessions)
    assert shares.worst <= slots * shares.longest / shares.least + 1e-6
    assert not len(shares)


@settings(max_examples=60, deadline=None)
@given(crowds, st.integers(1, 3), st.sampled_from(["composed", "fair", "rr", "mlfq", "locality"]))
def test_where_nobody_chooses_nothing_is_other_than_without(crowd, slots, name) -> None:
    def completions(policy) -> list[float]:
        sessions = [Session(pid, **{**each, "policy": ""}) for pid, each in enumerate(crowd, 1)]
        Simulator([VirtualCore(policy, Costs(), slots=slots, quantum=QUANTUM)]).run(sessions)
        return [session.done for session in sessions]

    assert completions(Shares(make(name), make, quantum=QUANTUM)) == completions(make(name))


def served(policy, crowd: list[Item], tokens: int) -> dict[str, int]:
    """By queue, when all always want more, one at a time has the slot, a quantum each."""
    got = dict.fromkeys(NAMES, 0)
    for one in crowd:
        policy.enqueue(one, 0.0)
    while sum(got.values()) < tokens:
        one = policy.select(0.0, anybody)
        one.quantum_used = QUANTUM
        policy.charge(one, QUANTUM, 0.0)
        got[one.policy] += QUANTUM
        policy.left(one, 0.0, ended=False)
        policy.enqueue(one, 0.0)
    return got


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
def test_each_choice_gets_what_its_agents_weigh(choices) -> None:
    got = served(
        Shares(Fifo(), make, quantum=QUANTUM), [item(n, policy=name) for n, name in enumerate(choices)], 9600
    )
    for name in NAMES:
        assert got[name] == pytest.approx(9600 * choices.count(name) / len(choices), abs=2 * QUANTUM)


def test_one_who_chooses_gets_no_more_by_many_calls_nor_by_several_choices() -> None:
    greedy = [item(n, pid=1, policy=NAMES[1 + n % 4]) for n in range(40)]
    others = [item(100 + n, pid=2 + n) for n in range(3)]
    got = served(Shares(Fifo(), make, quantum=QUANTUM), greedy + others, 8000)
    assert got[""] == pytest.approx(6000, abs=2 * QUANTUM)


def test_groups_have_their_weights_whatever_their_agents_choose() -> None:
    many = [item(n, group="many", policy="srpt") for n in range(30)]
    alone = item(99, group="alone", weight=2.0)
    got = served(Shares(Composed(starve_s=math.inf), make, quantum=QUANTUM), [*many, alone], 9000)
    assert got["srpt"] == pytest.approx(3000, abs=2 * QUANTUM)


def test_idling_earns_nothing() -> None:
    shares = Shares(Fifo(), make, quantum=QUANTUM)
    served(shares, [item(1), item(2, policy="edf")], 400)
    late = [item(3, policy="srpt"), item(4, policy="srpt")]
    got = served(shares, late, 400)
    assert got["srpt"] == pytest.approx(200, abs=2 * QUANTUM)


def test_a_choice_preempts_and_orders_its_own_only() -> None:
    shares = Shares(Fifo(), make, quantum=QUANTUM)
    running = [item(1, policy="edf", deadline=50.0), item(2, policy="edf"), item(3)]
    for one in running:
        shares.enqueue(one, 0.0)
    assert {shares.select(0.0, anybody) for _ in running} == set(running)
    urgent = item(4, policy="edf", deadline=5.0)
    shares.enqueue(urgent, 1.0)
    assert shares.preempt(running, 1.0) == [running[1]]  # the one of its own without a deadline
    shares.left(running[1], 1.0, ended=False)
    shares.enqueue(running[1], 1.0)
    assert shares.select(1.0, anybody) is urgent


def test_who_runs_since_before_it_began_may_have_chosen_what_nobody_offers() -> None:
    """Its caller is gone, and the core's policy was changed meanwhile."""
    shares = Shares(Fifo(), make, quantum=QUANTUM)
    stranger = item(1, policy="srpt", quantum_used=QUANTUM)
    shares.charge(stranger, 5, 0.0)
    assert shares.preempt([stranger], 0.0) == []
    shares.left(stranger, 0.0, ended=True)
    assert len(shares) == 0


def test_at_the_end_of_its_quantum_one_leaves_for_a_queue_that_is_behind() -> None:
    shares = Shares(Fifo(), make, quantum=QUANTUM)
    first, other = item(1), item(2, policy="edf")
    shares.enqueue(first, 0.0)
    shares.select(0.0, anybody)
    shares.enqueue(other, 0.0)
    for used in range(1, QUANTUM):
        first.quantum_used = used
        shares.charge(first, 1, 0.0)
        assert shares.preempt([first], 0.0) == []
    first.quantum_used = QUANTUM
    shares.charge(first, 1, 0.0)
    assert shares.preempt([first], 0.0) == [first]


stands = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.sampled_from(NAMES), st.booleans()), max_size=60
)


@given(stands)
def test_queues_weigh_together_what_the_groups_do(plan) -> None:
    stakes = Weights()
    inside: list[tuple[Item, str]] = []
    weights = {"a": 1.0, "b": 2.5}
    for number, (pid, group, queue, leaves) in enumerate(plan):
        if leaves and inside:
            stakes.leave(*inside.pop(number % len(inside)))
        else:
            inside.append((item(number, pid=pid * 10 + ord(group), group=group, weight=weights[group]), queue))
            stakes.enter(*inside[-1])
        agents = {(one.group, one.pid) for one, _ in inside}
        for name in NAMES:
            expected = 0.0
            for group, pid in agents:
                stood = {where for one, where in inside if one.pid == pid}
                expected += weights[group] * (name in stood) / len(stood) / sum(g == group for g, _ in agents)
            assert stakes.of(name) == pytest.approx(expected, abs=1e-9)
