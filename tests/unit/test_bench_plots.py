"""Plots of benchmarks: what they say, and that odd rows do not break them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aios.bench import ablation, contexts, curves, neighbours, scale, schedule
from aios.bench.report import spread
from aios.telemetry import plots

PNG = b"\x89PNG"
RESTART = {"tokens": 256, "kept": True, "first_token_s": 0.5}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Figures that were written: they are kept until the test ends."""
    found: list[Any] = []
    pyplot = plots.plotting()
    close = pyplot.close
    monkeypatch.setattr(pyplot, "close", found.append)
    yield found
    close("all")


def words(figure: Any) -> str:
    """All that is written on a figure."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def ranged(**values: float) -> dict[str, Any]:
    return {**values, **{f"{name}_range": [value / 2, value * 2] for name, value in values.items()}}


def scheduled(agents: int, mode: str) -> dict[str, Any]:
    gains = {f"{name}_gain_over_fifo": 0.8 for name in schedule.MEASURES if name != "kv_hit"}
    return {
        "agents": agents,
        "mode": mode,
        **ranged(**dict.fromkeys(schedule.MEASURES, 4.0)),
        **ranged(**gains),
    }


def sessions(crowds: list[int]) -> dict[str, Any]:
    rows = [
        scheduled(crowd, mode)
        for crowd in crowds
        for mode in (schedule.MODES if crowd == crowds[0] else schedule.SWEEP_MODES)
    ]
    runs = [{**row, "completions_s": [1.0, 2.0]} for row in rows]
    runs.append({"agents": crowds[0], "mode": "aios-rr", "error": "it failed"})
    return {"model": "m", "slots": 4, "seeds": 2, "agents": crowds, "rows": rows, "runs": runs}


def test_a_row_without_a_range_has_no_spread():
    assert spread([{"x": 2.0, "x_range": [1.5, 4.0]}, {"x": 3.0}], "x") == [[0.5, 0.0], [2.0, 0.0]]


def test_the_schedule_shows_its_tails_and_numbers_of_agents(tmp_path: Path, figures: list[Any]) -> None:
    schedule.plot(tmp_path / "plot.png", sessions([32, 4, 64]))
    told = words(figures[0])
    assert "p99 of the waits" in told
    assert "p99 of slowdowns" in told
    assert [tick.get_text() for tick in figures[0].axes[4].get_xticklabels()] == ["4", "32", "64"]
    assert all(panel.get_title() for panel in figures[0].axes)
    (legend,) = [panel.get_legend() for panel in figures[0].axes if "when agents" in panel.get_title()]
    named = [text.get_text() for text in legend.get_texts()]
    assert sorted(named) == sorted(["the other modes", *schedule.COLOURS])


def test_one_crowd_alone_has_no_sweep_and_all_may_have_failed(tmp_path: Path, figures: list[Any]) -> None:
    schedule.plot(tmp_path / "one.png", sessions([8]))
    schedule.plot(tmp_path / "none.png", {**sessions([8]), "rows": [], "runs": []})
    assert [len(figure.axes) for figure in figures] == [4, 4]


def test_what_was_never_interrupted_is_no_success(tmp_path: Path, figures: list[Any]) -> None:
    exact = [
        {"kind": kind, "answers": 100, "exact": 100, "bleu": 1.0, "interrupts": count}
        for kind, count in (("text, greedy", 300), ("text, sampled", 0))
    ]
    pressed = [{"mode": way, "makespan_s": 9.0, "kv_hit": 0.5} for way in contexts.WAYS]
    restart = [RESTART, {**RESTART, "kept": False, "first_token_s": 2.0, "range": [1.9, 2.5]}]
    result = {"model": "m", "seeds": 3, "agents": 12, "kv_ram_mb": 24}
    taken = {"agents": 54, "ram_mb": 48.0, "contexts_mb": 500.0, "promised_mb": 400.0, "peak_mb": 390.0}
    result["memory"] = [{**taken, "answered": 161, "failed": 1}]
    contexts.plot(tmp_path / "plot.png", {**result, "exact": exact, "pressure": pressed, "restart": restart})
    told = words(figures[0])
    assert "not interrupted" in told
    assert "300 interrupts" in told
    assert "0 interrupts" not in told.replace("300 interrupts", "")
    assert "policy rr" in told
    assert "3 seeds" in told
    assert "tokens of the conversation" in told
    assert "54 agents" in told
    assert "161 answers, 1 errors" in told
    empty: dict[str, Any] = {"exact": [], "pressure": [], "memory": [], "restart": [{**RESTART, "length": 300}]}
    contexts.plot(tmp_path / "part.png", {**result, **empty})
    assert (tmp_path / "part.png").read_bytes().startswith(PNG)


def test_the_scale_says_of_how_many_runs_it_is_and_shows_memory(tmp_path: Path, figures: list[Any]) -> None:
    def point(agents: int, runs: int, **more: Any) -> dict[str, Any]:
        values = ranged(makespan_s=0.1 * agents, wait_mean_s=0.05 * agents, idle_bytes_each=3000.0)
        return {"agents": agents, "runs": runs, **values, **more}

    line = {"slope": 0.1, "intercept": -6.0, "r2": 1.0, "exponent": 1.0}
    result = {
        "slots": 16, "answer_tokens": 8, "repeats": 5,
        "null": [{"policy": p, "agents": 1, "runs": 5, **ranged(calls_s=9e3)} for p in scale.POLICIES],
        "idle": [{"agents": 50, "runs": 5, "bytes_each": -9, "bytes_each_range": [-99, 9]}],
        "engine": [point(n, 3, way=way) for way in scale.WAYS for n in (50, 100)],
        "few": [point(100, 4, way=way) for way in scale.WAYS],
        "fits": {way: {"makespan_s": line, "wait_mean_s": line} for way in scale.WAYS},
    }  # fmt: skip
    scale.plot(tmp_path / "plot.png", result)
    told = words(figures[0])
    assert "(3 runs; fitted lines)" in told
    assert "journal and events on (5 runs)" in told
    assert "10,000 a second" in told
    assert "null core (5 runs)" in told
    assert scale.runs_told([{"runs": 1}]) == "1 run"
    assert scale.runs_told([{"runs": 2}, {"runs": 5}]) == "2 to 5 runs"


def test_the_bound_beside_neighbours_is_named(tmp_path: Path, figures: list[Any]) -> None:
    values = ranged(light_wait_p99_s=3.0, jain=0.9, interactive_wait_p99_s=0.2, bound_s=5.0)
    summary = [{"policy": policy, **values} for policy in neighbours.POLICIES]
    neighbours.plot(tmp_path / "plot.png", {"model": "m", "slots": 4, "seeds": 5, "summary": summary})
    assert "two quanta and a step: 5.0 s" in words(figures[0])
    assert all(panel.get_ylabel() for panel in figures[0].axes)


def simulated(study: str, label: str, **point: Any) -> dict[str, Any]:
    names = ("mean_s", "p99_s", "wait_max_s", "light_mean_s", "interactive_wait_p99_s")
    mean = 2.0 if label == "fair" else float(len(label))  # as rr
    values = ranged(**dict.fromkeys(names, mean)) | {"hit": 0.9, "hit_range": [0.8, 0.95]}
    return {"study": study, "label": label, **values, **point}


def test_ways_that_did_the_same_are_one_line(tmp_path: Path, figures: list[Any]) -> None:
    labels = (*curves.POLICIES, *curves.ORACLES)
    rows = [simulated("load", label, load=load) for load in (0.7, 1.1) for label in labels]
    curves.plot_load(tmp_path / "load.png", rows)
    (legend,) = figures[0].legends
    named = [text.get_text() for text in legend.get_texts()]
    assert "rr = fair (one group)" in named
    assert not {"rr", "fair"} & set(named)
    lines = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[0].get_lines()}
    assert len(lines) == len(named)
    assert "axis cut" in figures[0].axes[0].get_title()
    rows = [{**row, "study": "cores", "cores": 4} for row in rows if row["load"] == 0.7]
    rows = [row | {"mean_s": 7.0} if row["label"] == "fair" else row for row in rows]
    assert {"rr", "fair"} <= set(curves.one_line(rows).values())
    curves.plot_cores(tmp_path / "cores.png", rows)
    assert (tmp_path / "cores.png").read_bytes().startswith(PNG)


def test_parts_are_points_with_their_values(tmp_path: Path, figures: list[Any]) -> None:
    labels = ("fifo", "composed", "composed, without class", "fifo, nothing parked")
    curves.plot_parts(tmp_path / "ablation.png", [simulated("ablation", label) for label in labels])
    assert not any(panel.patches for panel in figures[0].axes)
    assert "23" in words(figures[0])


def test_the_plot_of_what_is_left_out_names_all_of_it(figures: list[Any], tmp_path: Path) -> None:
    def row(load: str, without: str) -> dict[str, Any]:
        measures = ablation.MEASURES[load]
        costs = {f"{name}_cost": 1.2 for name in measures if name != "kv_hit"}
        return {"load": load, "without": without, **ranged(**dict.fromkeys(measures, 4.0)), **ranged(**costs)}

    rows = [row(load, without) for load, ways in ablation.LOADS.items() for without in ways]
    result = {"model": "m", "agents": 16, "slots": 4, "seeds": 3, "kv_ram_mb_tight": 24, "rows": rows}
    ablation.plot(tmp_path / "plot.png", result)
    assert (tmp_path / "plot.png").read_bytes().startswith(PNG)
    said = words(figures[0])
    for ways in ablation.LOADS.values():
        assert all(without in said for without in ways if without != ablation.WHOLE)
    assert "12 agents, 24 MB" in said
