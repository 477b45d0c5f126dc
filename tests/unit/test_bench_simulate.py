"""The simulated benchmark's parts: costs that fit the measured engine, traces, what the report concludes."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from aios.bench.stepping import Move, Sample, fitted, report
from aios.bench.studies import run_all, trials
from aios.bench.traces import agent_programs, azure_calls
from aios.bench.trial import Trial, outcome
from aios.bench.validation import calibrated, compared, real_runs
from aios.bench.verdict import merged, targets
from aios.errors import BadRequest
from aios.scheduler.costs import Costs
from aios.scheduler.load import Call

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def measured(machine: str = "."):
    found = json.loads((RESULTS / "simulate" / machine / "engine.json").read_text("utf-8"))
    return [Sample(**step) for step in found["steps"]], [Move(**move) for move in found["moves"]]


def test_costs_are_found_again_from_steps_that_took_just_that() -> None:
    true = Costs(0.003, 0.004, 2e-6, 0.007, 0.002, 1e-6, 0.0004, 1e-6)
    steps = [Sample(1.0, b, c) for b in (1, 2, 8) for c in (10, 1000)]
    steps += [Sample(1.0, prompt=n, at=at) for n in (8, 64, 128) for at in (0, 900)]
    steps = [Sample(s.predicted(true), s.decoding, s.context, s.prompt, s.at) for s in steps]
    moves = [Move(n, true.move(n)) for n in (10, 100, 1000)]
    found = fitted(steps, moves)
    for name in Costs.__dataclass_fields__:
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-6)


def test_the_fit_is_near_all_that_was_measured() -> None:
    steps, moves = measured()
    told = report(steps, fitted(steps, moves))
    assert told["relative_error_mean"] < 0.1
    assert told["relative_error_max"] < 0.3


def test_the_fit_agrees_with_another_benchmark_of_the_engine() -> None:
    """`aios bench engine` measured tokens a second, on another day of the same machine."""
    costs = fitted(*measured())
    rows = json.loads((RESULTS / "engine" / "result.json").read_text("utf-8"))["rows"]
    for row in rows:
        if row["exact"] and row["streams"] <= 8:
            step = costs.step_s + row["streams"] * (costs.decode_s + costs.look_s * 48)
            assert row["streams"] / step == pytest.approx(row["aios_decode"], rel=0.25)
            prefill = 2 * (costs.step_s + costs.chunk_s) + costs.prefill(256, 0)
            assert 256 / prefill == pytest.approx(row["aios_prefill"], rel=0.25)


@pytest.mark.parametrize(("machine", "policy"), [(".", "rr"), ("slower", "composed")])
def test_the_simulator_tells_what_real_runs_took_that_it_was_not_calibrated_on(machine, policy) -> None:
    """The runs on the slower machine are of `composed` as it is."""
    runs, alone = real_runs(RESULTS / "schedule" / machine / "result.json"), fitted(*measured(machine))
    _, factor = calibrated(runs, alone)
    assert 1.0 <= factor < 1.5
    checks = [row for row in compared(runs, alone) if row["policy"] == policy]
    assert len(checks) >= 4
    for row in checks:
        assert abs(row["error"]) < 0.15
        assert row["simulated"]["kv_hit"] == pytest.approx(row["real"]["kv_hit"], abs=0.02)
        assert row["simulated"]["prompt_tokens"] == pytest.approx(row["real"]["prompt_tokens"], rel=0.03)


def write(path: Path, text: str) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(text)


def synthetic(folder: Path) -> Path:
    """Traces of the recorded form, made up."""
    lines = []
    for number in range(6):
        requests = [
            {
                "t": 9.0 * k,
                "in": 6400 + 640 * k,
                "out": 64 * (1 + number),
                "think_time": 3.2,
                "shared": 6400 * (k > 0),
            }
            for k in range(3)
        ]
        requests.insert(1, {"t": 1.0, "type": "subagent", "shared": 0, "subagent": []})
        lines.append(json.dumps({"id": "s", "system_tokens": 640, "tool_tokens": 640, "requests": requests}))
    write(folder / "agent_sessions.jsonl.gz", "\n".join(lines))
    for name in ("code", "conv"):
        rows = [f"2023-11-16 18:17:{k:02}.9799600,{100 + k},{5 + k % 7}" for k in range(40)]
        write(
            folder / f"azure_llm_2023_{name}.csv.gz",
            "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]),
        )
    return folder


def test_sessions_are_scaled_and_start_from_what_they_shared(tmp_path) -> None:
    programs = agent_programs(synthetic(tmp_path), scale=32)
    assert len(programs) == 6
    assert {program.family for program in programs} == {0}
    assert programs[1].shared == 40
    assert programs[1].calls[0] == Call(fresh=160, output=4, gap_s=0.1, keep=40)
    assert programs[1].calls[2].keep == 200
    assert programs[1].calls[-1].gap_s == 0.0


def test_independent_calls_come_in_the_order_of_their_times(tmp_path) -> None:
    calls = azure_calls(synthetic(tmp_path) / "azure_llm_2023_code.csv.gz")
    assert calls[0] == (0.0, Call(100, 5))
    assert calls[-1][0] == pytest.approx(39.0)


def test_a_trace_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(BadRequest, match="agent_sessions"):
        agent_programs(tmp_path, scale=1)


def test_what_is_hidden_from_the_policy_does_not_change_what_comes(tmp_path) -> None:
    programs = agent_programs(synthetic(tmp_path), scale=32)
    rows = [
        outcome(Trial("x", "composed", 1, each=4, hidden=hidden), programs, [], Costs())
        for hidden in (None, "class", "group", "program", "resident")
    ]
    assert len({row["calls"] for row in rows}) == 1
    assert len({row["label"] for row in rows}) == 5


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path) -> None:
    plan = [trial for trial in trials(1, quick=True) if trial.study == "ablation"][:3]
    folder, progress = synthetic(tmp_path), tmp_path / "progress.jsonl"
    rows = run_all(plan, folder, Costs(), progress)
    assert [row["policy"] for row in rows] == ["fifo", "composed", "composed"]
    assert not progress.exists()
    lines = [json.dumps(line) for line in (asdict(Costs()), rows[0])]
    progress.write_text("\n".join(lines) + "\n", "utf-8")
    more = run_all(plan, folder, Costs(), progress)
    assert sorted(row["label"] for row in more) == sorted(row["label"] for row in rows)


def row(label: str, seed: int, mean: float, **fields):
    given = {"study": "load", "trace": "", "cores": 1, "load": 0.9, "label": label, "seed": seed, "oracle": ""}
    given |= {"mean_s": mean, "makespan_s": 10.0, "hit": 0.95, "bound_selections": 0.5, "bound_work": 0.1}
    return given | fields


def test_ratios_are_taken_within_a_seed_and_targets_say_what_was_missed() -> None:
    found = merged([
        row("fifo", 1, 10.0), row("composed", 1, 4.0), row("oracle (call)", 1, 2.0, oracle="call"),
        row("oracle (program)", 1, 4.0, oracle="program"),
        row("fifo", 2, 3.0), row("composed", 2, 9.0), row("oracle (call)", 2, 3.0, oracle="call"),
    ])  # fmt: skip
    composed = next(entry for entry in found if entry["label"] == "composed")
    assert composed["mean_to_oracle_range"] == [2.0, 3.0]
    assert composed["mean_to_fifo"] == pytest.approx((0.4 + 3.0) / 2)
    met = {t["what"].split(",")[0]: t["met"] for t in targets(found, [{"error": 0.2, "calibrates": False}])}
    assert met == {
        "mean completion against real runs": False,
        "token hit": True,
        "mean completion to the oracle's": False,
        "share of the starvation bound used up": True,
    }
