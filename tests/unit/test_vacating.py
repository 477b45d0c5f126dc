"""Which context leaves its slot: by expected waste, against by expected gap alone, on a virtual clock."""

from __future__ import annotations

import random

import pytest

from aios.bench.placement import Planned
from aios.context.entry import Entry
from aios.context.residency import Residency
from aios.cores.core import ContextSpec
from aios.scheduler.composed import Composed
from aios.scheduler.costs import Costs
from aios.scheduler.load import Call, Session
from aios.scheduler.simulator import Simulator
from aios.scheduler.virtual import VirtualCore

COSTS = Costs(step_s=0.0035, decode_s=0.0039, look_s=2.6e-6, chunk_s=0.0074, prefill_s=0.0021, attend_s=9.3e-7)


def agents(seed: int) -> list[Session]:
    """Some with long contexts and some with short ones, who stay away for long or not."""
    draw, now = random.Random(seed), 0.0
    found: list[Session] = []
    for pid in range(1, 21):
        size, gap_s = draw.choice([1, 1, 1, 3, 8, 20]), draw.choice([0.5, 2.0, 10.0, 40.0])
        calls = [
            Call(
                fresh=10 + int(size * draw.lognormvariate(4.0, 0.7)) % 1500,
                output=draw.randint(8, 60),
                gap_s=draw.expovariate(1 / gap_s),
            )
            for _ in range(draw.randint(3, 8))
        ]
        now += draw.expovariate(0.06)
        found.append(Session(pid, calls, arrival=now, shared=40))
    return found


def computed_again(seed: int, ram_mb: int) -> int:
    """Tokens."""
    sessions = agents(seed)
    spec = ContextSpec(bytes_base=64, bytes_per_token=23_044, ram_bytes=ram_mb << 20)
    core = VirtualCore(Composed(quantum=16), COSTS, Planned(4, COSTS, spec), slots=4, quantum=16)
    Simulator([core]).run(sessions)
    fresh = sum(call.fresh for session in sessions for call in session.calls)
    return sum(session.computed for session in sessions) - fresh


def by_gap(self: Residency, free: list[int], source: Entry | None) -> int:
    """As it was before."""
    now = self._now()

    def cost(slot: int) -> tuple[bool, bool, float, int]:
        entry = self._slots[slot]
        if entry is None:
            return False, False, 0.0, 0
        return entry is source, True, -self.worth.gap(entry, now), entry.used

    return min(free, key=cost)


def test_under_pressure_less_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken together: of a single run, chance has more to say than the rule."""
    by_waste = sum(computed_again(seed, 40) for seed in range(12))
    monkeypatch.setattr(Residency, "_choose", by_gap)
    assert by_waste < sum(computed_again(seed, 40) for seed in range(12))


def test_with_room_for_all_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    by_waste = [computed_again(seed, 4096) for seed in range(3)]
    monkeypatch.setattr(Residency, "_choose", by_gap)
    assert by_waste == [computed_again(seed, 4096) for seed in range(3)]
