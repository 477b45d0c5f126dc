"""The simulator's own laws, whatever comes, under every kind of policy and with both kinds of contexts."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios.bench.placement import Planned
from aios.bench.witness import Witness
from aios.cores.core import ContextSpec
from aios.scheduler.composed import Composed
from aios.scheduler.contexts import Recent
from aios.scheduler.costs import Costs
from aios.scheduler.fifo import Fifo
from aios.scheduler.load import Call, Session
from aios.scheduler.rr import RoundRobin
from aios.scheduler.simulator import Simulator
from aios.scheduler.virtual import VirtualCore

COSTS = Costs(chunk_s=0.001, look_s=1e-6, attend_s=1e-6, token_move_s=1e-6)

calls = st.builds(
    Call,
    fresh=st.integers(1, 300),
    output=st.integers(1, 60),
    gap_s=st.floats(0, 1),
    keep=st.none() | st.integers(0, 400),
)
crowds = st.lists(
    st.builds(
        dict,
        calls=st.lists(calls, min_size=1, max_size=4),
        arrival=st.floats(0, 3),
        group=st.sampled_from(["a", "b"]),
        scheduling_class=st.sampled_from(["interactive", "normal", "idle"]),
        shared=st.integers(0, 100),
        family=st.integers(0, 1),
        oracle=st.sampled_from(["", "call", "program"]),
    ),
    min_size=1,
    max_size=10,
)
policies = st.sampled_from([Fifo, RoundRobin, Composed])


class Watched(VirtualCore):
    """Checks the laws after whatever happens."""

    clock = 0.0

    def submit(self, session, now):
        super().submit(session, now)
        self.look(now)

    def advance(self, now):
        ended = super().advance(now)
        self.look(now)
        assert not len(self.policy) or len(self._running) == self.slots, "a slot idles while calls wait"
        return ended

    def look(self, now: float) -> None:
        assert now >= self.clock, "time went back"
        self.clock = now
        assert len(self._running) <= self.slots
        assert len({stay.session.pid for stay in self._running}) == len(self._running), "in two slots"
        assert len(self.policy) + len(self._running) == self.load, "a call is lost"
        assert (self.load == 0) == math.isinf(self.until), "work lies about"


def contexts(planned: bool, ram: int, slots: int):
    if not planned:
        return Recent(ram * 20, 0.001)
    return Planned(slots, COSTS, ContextSpec(64, 100, ram * 2000))


@settings(max_examples=120, deadline=None)
@given(
    crowds,
    policies,
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 64),
    st.booleans(),
    st.integers(0, 60),
)
def test_all_that_comes_is_done_once_and_in_order(crowd, policy, cores, slots, quantum, planned, ram) -> None:
    sessions = [Session(pid, **fields) for pid, fields in enumerate(crowd, 1)]
    simulator = Simulator([
        Watched(policy(quantum=quantum), COSTS, contexts(planned, ram, slots), slots=slots, quantum=quantum)
        for _ in range(cores)
    ])  # fmt: skip
    simulator.run(sessions)
    for session in sessions:
        assert session.over
        assert session.generated == sum(call.output for call in session.calls)
        least = sum(call.output - 1 for call in session.calls) * (COSTS.step_s + COSTS.decode_s)
        assert simulator.now >= session.done >= session.arrival + least - 1e-9
        assert min(session.waits) >= 0


@pytest.mark.parametrize(("oracle", "told"), [("", [None] * 3), ("call", [2.0, 3.0, None])])
def test_an_oracle_tells_the_policy_the_gap_after_each_call(oracle, told) -> None:
    seen: list[float | None] = []

    class Noting(Fifo):
        def enqueue(self, item, now) -> None:
            seen.append(item.gap_s)
            super().enqueue(item, now)

    session = Session(1, [Call(5, 5, 2.0), Call(5, 5, 3.0), Call(5, 5, 4.0)], oracle=oracle)
    Simulator([VirtualCore(Noting(), COSTS)]).run([session])
    assert seen == told


@settings(max_examples=40, deadline=None)
@given(crowds, st.integers(1, 3), st.booleans())
def test_a_run_repeats_itself(crowd, slots, planned) -> None:
    def completions() -> list[float]:
        sessions = [Session(pid, **fields) for pid, fields in enumerate(crowd, 1)]
        Simulator([VirtualCore(Composed(), COSTS, contexts(planned, 9, slots), slots=slots)]).run(sessions)
        return [session.done for session in sessions]

    assert completions() == completions()


@settings(max_examples=60, deadline=None)
@given(crowds, st.integers(1, 2), st.floats(0, 0.5), st.sampled_from([0.0, 1.0, 3.0]), st.integers(0, 30))
def test_composed_keeps_its_bound_in_whole_runs(crowd, slots, starve_s, relief, ram) -> None:
    witness = Witness(Composed(quantum=8, starve_s=starve_s, relief=relief), starve_s=starve_s, relief=relief)
    sessions = [Session(pid, **fields) for pid, fields in enumerate(crowd, 1)]
    core = VirtualCore(witness, COSTS, contexts(True, ram, slots), slots=slots, quantum=8)
    Simulator([core]).run(sessions)
    assert witness.selections <= 1.0
    assert witness.work <= 1.0


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_core_alone_takes_the_time_its_costs_say(prompt, output) -> None:
    session = Session(1, [Call(prompt, output)])
    simulator = Simulator([VirtualCore(Fifo(), COSTS, Recent(switch_s=0.0), quantum=1000)])
    simulator.run([session])
    chunks = [128] * (prompt // 128) + ([prompt % 128] if prompt % 128 else [])
    expected = 0.0
    for index, chunk in enumerate(chunks):
        if chunk > 1:
            expected += COSTS.step_s + COSTS.chunk_s + COSTS.prefill(chunk, 128 * index)
        else:
            expected += COSTS.step_s + COSTS.decode(1, 128 * index + 1)
    for step in range(1, output):
        expected += COSTS.step_s + COSTS.decode_s + COSTS.look_s * (prompt + step + 0.5)
    assert simulator.now == pytest.approx(expected)
