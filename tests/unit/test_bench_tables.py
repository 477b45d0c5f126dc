"""What benchmarks make of their rows."""

import pytest

from aios.bench import neighbours, scale, schedule
from aios.bench.sessions import ROLES, plans


def test_a_line_is_fitted_with_how_well_it_fits():
    line = scale.fit([{"agents": n, "makespan_s": 0.5 + 0.002 * n} for n in (250, 500, 1000)])
    assert line["s_per_agent"] == pytest.approx(0.002)
    assert line["s"] == pytest.approx(0.5)
    assert line["r2"] == pytest.approx(1.0)
    bent = scale.fit([{"agents": n, "makespan_s": n**3 / 1e6} for n in (250, 500, 1000)])
    assert bent["r2"] < 0.99


def test_gains_are_against_fifo_on_the_same_seed():
    rows = [
        {"agents": 8, "seed": seed, "mode": mode, "kv_hit": 0.5, **dict.fromkeys(schedule.MEASURES[:-1], value)}
        for seed, mode, value in ((1, "aios-fifo", 10.0), (1, "aios-composed", 5.0), (2, "aios-fifo", 30.0),
                                  (2, "aios-composed", 10.0))
    ]  # fmt: skip
    rows.append({"agents": 8, "seed": 3, "mode": "aios-composed", "error": "it failed"})
    fifo, composed = schedule.merged(rows)
    assert fifo["makespan_s_gain_over_fifo"] == 1.0
    assert composed["makespan_s_gain_over_fifo"] == 2.5
    assert composed["makespan_s_gain_over_fifo_range"] == [2.0, 3.0]
    assert composed["makespan_s_range"] == [5.0, 10.0]
    assert composed["failed_runs"] == 1


def test_light_agents_gain_by_how_much_less_they_wait():
    def row(policy: str, wait: float) -> dict:
        names = ("light_wait_p50_s", "jain", "interactive_wait_p99_s", "bound_s")
        return {"policy": policy, "seed": 1, "light_wait_p99_s": wait, **dict.fromkeys(names, 1.0)}

    found = neighbours.summary([row(policy, 8.0 / (i + 1)) for i, policy in enumerate(neighbours.POLICIES)])
    assert [entry["light_gain_over_fifo"] for entry in found] == [1.0, 2.0]


def test_crowds_are_drawn_from_the_seed_and_have_all_roles():
    crowd = plans(20, seed=3)
    assert crowd == plans(20, seed=3) != plans(20, seed=4)
    assert [plan.arrival for plan in crowd] == sorted(plan.arrival for plan in crowd)
    for role, share, (least, most) in ROLES:
        mine = [plan for plan in crowd if plan.name.startswith(role)]
        assert len(mine) == round(share * 20)
        assert all(least <= len(plan.steps) <= most for plan in mine)
