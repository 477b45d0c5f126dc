"""What benchmarks make of their rows."""

import asyncio
import json
import tomllib
from pathlib import Path

import pytest

from aios.bench import ablation, contexts, neighbours, scale, schedule
from aios.bench.growth import growth
from aios.bench.kernelrate import null_rate
from aios.bench.modes import Setup, tables
from aios.bench.progress import Progress
from aios.bench.sessions import ROLES, plans
from aios.config import parse
from aios.errors import ConfigError


def test_growth_is_told_as_a_line_and_as_a_power() -> None:
    line = growth([(n, 0.002 * n) for n in (250, 500, 1000, 1000)])
    assert line["slope"] == pytest.approx(0.002)
    assert line["intercept"] == pytest.approx(0.0, abs=1e-9)
    assert line["r2"] == pytest.approx(1.0)
    assert line["exponent"] == pytest.approx(1.0)
    assert [(part["from"], part["to"]) for part in line["local"]] == [(250, 500), (500, 1000)]
    bent = growth([(n, n**3 / 1e6) for n in (250, 500, 1000)])
    assert bent["r2"] < 0.99
    assert bent["exponent"] == pytest.approx(3.0)
    assert bent["local"][1]["slope"] > 3 * bent["local"][0]["slope"]


def test_runs_of_one_kind_are_merged_to_medians_and_ranges() -> None:
    rows = [
        {"part": "null", "policy": "fifo", "agents": 1, "seed": seed, "calls_s": rate, "trouble": trouble}
        for seed, rate, trouble in ((1, 9.0, ""), (2, 12.0, "slow disk"), (3, 11.0, ""))
    ]
    rows.append({"part": "idle", "agents": 1, "seed": 1, "bytes_each": 10})
    (row,) = scale.merged(rows, "null", ("policy", "agents"))
    assert (row["runs"], row["calls_s"], row["calls_s_range"]) == (3, 11.0, [9.0, 12.0])
    assert row["trouble"] == "slow disk"


def test_a_fast_kernel_has_lost_no_record(tmp_path: Path) -> None:
    settings = parse({"state": {"dir": str(tmp_path)}})
    row = asyncio.run(null_rate(settings, 50))
    assert row["calls_s"] >= row["calls_s_on_disk"] > 0
    assert (row["trouble"], row["records_lost"], row["decisions_lost"]) == ("", 0, 0)


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


def test_a_kernel_that_has_served_before_is_compared_with_fifo_that_has():
    values = {"aios-fifo": 10.0, "aios-fifo-warm": 12.0, "aios-composed-warm": 8.0}
    rows = [
        {"agents": 8, "seed": 1, "mode": mode, "kv_hit": 0.5, **dict.fromkeys(schedule.MEASURES[:-1], value)}
        for mode, value in values.items()
    ]
    assert [row["makespan_s_gain_over_fifo"] for row in schedule.merged(rows)] == [1.0, 1.0, 1.5]


def test_what_was_measured_before_a_stop_is_not_measured_again(tmp_path: Path) -> None:
    first = Progress(tmp_path / "out" / "progress.jsonl")
    assert first.find(agents=8, seed=1, mode="aios-fifo") is None
    first.add({"agents": 8, "seed": 1, "mode": "aios-fifo", "makespan_s": 2.0})
    again = Progress(tmp_path / "out" / "progress.jsonl")
    found = again.find(agents=8, seed=1, mode="aios-fifo")
    assert found is not None
    assert found["makespan_s"] == 2.0
    assert again.find(agents=8, seed=2, mode="aios-fifo") is None
    again.over()
    assert Progress(tmp_path / "out" / "progress.jsonl").find(agents=8) is None


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


def test_a_part_of_the_contexts_is_measured_alone_and_the_rest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    async def measured(*_: object) -> list[dict[str, object]]:
        return [{"tokens": 256, "kept": True, "first_token_s": 0.5, "range": [0.5, 0.5]}]

    monkeypatch.setattr(contexts, "restarts", measured)
    exact = {"kind": "text, greedy", "answers": 100, "exact": 55, "bleu": 0.85, "interrupts": 300}
    before = {"exact": [exact], "agents": 24, "kv_ram_mb": 48}
    (tmp_path / "result.json").write_text(json.dumps(before))
    contexts.run(tmp_path, model=str(tiny_model), part="restart")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["exact"], result["pressure"], result["agents"]) == ([exact], [], 24)
    assert [row["tokens"] for row in result["restart"]] == [256]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="exact, restart, pressure, memory"):
        contexts.run(tmp_path, part="restarts")


def test_what_is_left_out_is_compared_with_the_whole_of_the_same_seed_and_load() -> None:
    def row(load: str, seed: int, without: str, span: float) -> dict:
        times = dict.fromkeys(ablation.MEASURES[load], span)
        return {**times, "load": load, "seed": seed, "without": without, "wait_p99_s": 0.0, "kv_hit": 0.5}

    rows = [
        row("ample", 1, ablation.WHOLE, 10.0), row("ample", 2, ablation.WHOLE, 20.0),
        row("ample", 1, "no preemption", 12.0), row("ample", 2, "no preemption", 30.0),
        row("tight", 1, ablation.WHOLE, 5.0), row("tight", 1, "no swap", 4.0),
        row("flood", 1, ablation.WHOLE, 0.5), row("flood", 1, "no preemption", 4.0),
    ]  # fmt: skip
    merged = {(each["load"], each["without"]): each for each in ablation.merged(rows)}
    without = merged["ample", "no preemption"]
    assert (without["makespan_s_cost"], without["makespan_s_cost_range"]) == (1.35, [1.2, 1.5])
    assert (without["makespan_s"], without["makespan_s_range"]) == (21.0, [12.0, 30.0])
    assert merged["tight", "no swap"]["makespan_s_cost"] == 0.8
    assert merged["flood", "no preemption"]["interactive_wait_p99_s_cost"] == 8.0
    assert merged["ample", ablation.WHOLE]["slowdown_p99_cost"] == 1.0
    assert "wait_p99_s_cost" not in without  # nobody waited in the whole: there is no ratio
    assert "kv_hit_cost" not in without


def test_each_way_of_leaving_something_out_is_a_configuration_that_differs(tmp_path: Path) -> None:
    setup = Setup("m", tmp_path / "m.gguf", 4, 4, 2, tmp_path)
    for load, ways in ablation.LOADS.items():
        made = {without: parse(tomllib.loads(tables(setup, mode))) for without, mode in ways.items()}
        kinds = [(settings, ways[without].endswith("-plan")) for without, settings in made.items()]
        assert all(kinds.count(each) == 1 for each in kinds), load
    unranked = parse(tomllib.loads(tables(setup, "aios-composed-unranked-plan")))
    assert unranked.scheduler.options == {"composed": {"programs": False}}
    assert parse(tomllib.loads(tables(setup, "aios-rr-lru-noswap"))).context.eviction == "lru"
