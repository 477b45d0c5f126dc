"""`aios bench schedule`: many agents, one small model, forced lengths: what each way of ordering them gives."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from aios.bench.board import Board
from aios.bench.drive import Row
from aios.bench.modes import BACKOFF, Setup, served
from aios.bench.progress import Progress
from aios.bench.report import log_ticks, machine, save_figure, spread, write_result
from aios.bench.sessions import plans, run_sessions
from aios.errors import AiosError
from aios.models.store import ModelStore
from aios.telemetry.plots import plotting

MODES = (
    "direct-retry",
    "engine-queue",
    "aios-fifo-bare",
    "aios-fifo",
    "aios-rr",
    "aios-composed",
    "aios-composed-plan",
    "aios-fifo-warm",
    "aios-composed-warm",
)
SWEEP = (4, 8, 16, 64)
SWEEP_MODES = ("engine-queue", "aios-fifo", "aios-composed")
"""Other numbers of agents, and how they are served: 4 have a slot each."""
WARM = 1000
"""Added to the seed of the crowd that a warm kernel has served before, and from which it knows its agents."""
MODEL = "smollm2-135m-instruct"
MEASURES = (
    "makespan_s", "completion_mean_s", "completion_p99_s", "waited_mean_s", "wait_p50_s", "wait_p99_s",
    "slowdown_mean", "slowdown_p99", "kv_hit",
)  # fmt: skip

COLOURS: Mapping[str, str] = {
    "engine-queue": "#e69f00", "aios-fifo": "#0072b2", "aios-composed": "#d55e00",
    "aios-composed-plan": "#009e73",
}  # fmt: skip
OTHER = "0.6"
"""Modes that the plot is about, and the grey of the others."""


def run(
    out: Path,
    *,
    model: str = MODEL,
    agents: int = 32,
    slots: int = 4,
    seeds: int = 5,
    full: bool = False,
    quick: bool = False,
) -> None:
    """Every mode on every seed; the modes of one seed run next to each other. `full`: other numbers of agents
    too. What is done is kept in `progress.jsonl`, so that a run that was stopped goes on where it was."""
    with tempfile.TemporaryDirectory(prefix="aios-schedule-") as folder:
        threads = len(os.sched_getaffinity(0))
        setup = Setup(model, ModelStore().resolve(model), 0, slots, threads, Path(folder), context=2048)
        crowds = (8,) if quick else (agents, *SWEEP) if full else (agents,)
        before, progress = machine(), Progress(out / "progress.jsonl")
        rows = asyncio.run(_sweep(setup, crowds, 1 if quick else seeds, progress))
    result = {
        "bench": "schedule", "model": model, "slots": slots, "seeds": seeds, "agents": list(crowds),
        "rows": merged(rows), "runs": rows, **before,
    }  # fmt: skip
    write_result(out, result)
    plot(out / "plot.png", result)
    progress.over()


async def _sweep(setup: Setup, crowds: Sequence[int], seeds: int, progress: Progress) -> list[dict[str, Any]]:
    console, rows = Console(), list[dict[str, Any]]()
    runs = [
        (count, seed, mode)
        for index, count in enumerate(crowds)
        for seed in range(1, seeds + 1)
        for mode in (SWEEP_MODES if index else MODES)
    ]
    for count, seed, mode in runs:
        row = progress.find(agents=count, seed=seed, mode=mode)
        if row is None:
            row = {"agents": count, "seed": seed, **await _one(replace(setup, agents=count), mode, seed)}
            progress.add(row)
        rows.append(row)
        told = "  ".join(f"{name.removesuffix('_s')} {row[name]}" for name in MEASURES if name in row)
        console.print(f"{count} agents, seed {seed}, {mode:18} {told or row['error']}")
    return rows


async def _one(setup: Setup, mode: str, seed: int) -> dict[str, Any]:
    crowd = plans(setup.agents, seed)
    rows = [Row(plan.name) for plan in crowd]
    try:
        async with served(setup, mode, BACKOFF) as way, Board(mode, rows, None).shown():
            if mode.endswith("-warm"):
                before = plans(setup.agents, WARM + seed)
                await run_sessions(way, before, WARM + seed, [Row(plan.name) for plan in before])
            done = await run_sessions(way, crowd, seed, rows, declare=mode.endswith("-plan"))
            return done.row(mode)
    except* (AiosError, httpx.HTTPError) as group:
        failed = "; ".join(str(error) or repr(error) for error in group.exceptions)
    return {"mode": mode, "error": failed}


def merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each number of agents and mode: medians over the seeds of the measures and of their ratios to
    `aios-fifo` of the same seed (of a kernel that has served before: to `aios-fifo-warm`), with the range."""
    found: list[dict[str, Any]] = []
    for agents, mode in dict.fromkeys((row["agents"], row["mode"]) for row in rows):
        same = [row for row in rows if (row["agents"], row["mode"]) == (agents, mode)]
        good = [row for row in same if "error" not in row]
        entry: dict[str, Any] = {"agents": agents, "mode": mode, "failed_runs": len(same) - len(good)}
        for name in MEASURES if good else ():
            values = [row[name] for row in good]
            entry[name] = statistics.median(values)
            entry[f"{name}_range"] = [min(values), max(values)]
            if ratios := [r for row in good if (r := _gain(rows, row, name)) is not None]:
                entry[f"{name}_gain_over_fifo"] = round(statistics.median(ratios), 3)
                entry[f"{name}_gain_over_fifo_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
        found.append(entry)
    return found


def _gain(rows: list[dict[str, Any]], row: dict[str, Any], name: str) -> float | None:
    """How many times less of a measure of time a run had than `fifo` on the same seed and crowd. A kernel that
    has served before runs right after a minute of load: such a run is compared with one of its kind."""
    fifo = "aios-fifo-warm" if row["mode"].endswith("-warm") else "aios-fifo"
    for base in rows:
        if (base["mode"], base["agents"], base["seed"]) == (fifo, row["agents"], row["seed"]):
            return base[name] / row[name] if name != "kv_hit" and base.get(name) and row[name] else None
    return None


def plot(path: Path, result: dict[str, Any]) -> None:
    """Times and tails of each mode, and when the agents were done; and what other numbers of agents gain and
    lose."""
    crowd, *others = result["agents"]
    columns = 3 if others else 2
    figure, grid = plotting().subplots(2, columns, figsize=(6.2 * columns, 10))
    axes = list(grid.flat)
    good = [row for row in result["rows"] if row["agents"] == crowd and "makespan_s" in row]
    whole = ("makespan_s", "completion_mean_s")
    _plot_bars(axes[0], good, whole, "makespan, and mean completion (paler), s")
    _plot_bars(axes[1], good, ("wait_p99_s",), "p99 of the waits of calls for a slot, s")
    _plot_bars(
        axes[2], good, ("slowdown_p99",), "p99 of slowdowns: an agent's time over what it would be alone"
    )
    _plot_done(axes[3], [run for run in result["runs"] if run["agents"] == crowd and "error" not in run])
    if others:
        middle = {"completion_mean_s": "mean completion", "makespan_s": "makespan"}
        _plot_gains(axes[4], result, middle, "mean completion and makespan by the number of agents")
        tails = {"wait_p99_s": "p99 wait", "slowdown_p99": "p99 slowdown"}
        _plot_gains(axes[5], result, tails, "tails by the number of agents (no point: nobody waits under fifo)")
    figure.suptitle(
        f"{result['model']}, {crowd} agents (or as told) on {result['slots']} slots, {result['seeds']} seeds: "
        "medians and ranges"
    )
    save_figure(figure, path)


def _plot_bars(axes: Any, rows: Sequence[dict[str, Any]], names: Sequence[str], title: str) -> None:
    height = 0.8 / len(names)
    for index, name in enumerate(names):
        shift = (index - (len(names) - 1) / 2) * height
        bars = axes.barh(
            [place + shift for place in range(len(rows))], [row[name] for row in rows], height,
            color=[COLOURS.get(row["mode"], OTHER) for row in rows], alpha=0.5 if index else 1.0,
            xerr=spread(rows, name), capsize=2, error_kw={"elinewidth": 0.8, "capthick": 0.8},
        )  # fmt: skip
        axes.bar_label(bars, fmt="%.3g", fontsize=8, padding=3)
    axes.set_yticks(range(len(rows)), [row["mode"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.16)
    axes.set_title(title, fontsize=10)


def _plot_done(axes: Any, runs: Sequence[dict[str, Any]]) -> None:
    others = "the other modes"  # in the legend once; coloured ones are drawn last
    for mode in sorted(dict.fromkeys(run["mode"] for run in runs), key=lambda mode: mode in COLOURS):
        times = sorted(time for run in runs if run["mode"] == mode for time in run["completions_s"])
        label, others = (mode, others) if mode in COLOURS else (others, "")
        axes.step(
            times, [(i + 1) / len(times) for i in range(len(times))], where="post", label=label or None,
            color=COLOURS.get(mode, OTHER), linewidth=1.8 if mode in COLOURS else 0.7,
        )  # fmt: skip
    axes.set_xscale("log")
    log_ticks(axes.xaxis)
    axes.set_xlabel("time from arrival to end, s")
    axes.set_ylabel("share of agents done")
    if runs:
        axes.legend(fontsize=8, loc="upper left")
    axes.set_title("when agents are done, all seeds together", fontsize=10)


def _plot_gains(axes: Any, result: dict[str, Any], names: Mapping[str, str], title: str) -> None:
    lines = [(mode, name) for mode in SWEEP_MODES if mode != "aios-fifo" for name in names]
    for index, (mode, name) in enumerate(lines):
        gain = f"{name}_gain_over_fifo"
        rows = [row for row in result["rows"] if row["mode"] == mode and gain in row]
        rows.sort(key=lambda row: row["agents"])
        # Next to each other, not on top of each other.
        counts = [row["agents"] * 1.04 ** (index - (len(lines) - 1) / 2) for row in rows]
        axes.errorbar(
            counts, [row[gain] for row in rows], yerr=spread(rows, gain), capsize=2, elinewidth=0.8, marker="o",
            linestyle="-" if name == next(iter(names)) else ":", color=COLOURS[mode],
            label=f"{mode}, {names[name]}",
        )  # fmt: skip
    axes.axhline(1.0, color=COLOURS["aios-fifo"], linewidth=1.2, label="aios-fifo")
    axes.set_xscale("log")
    log_ticks(axes.xaxis, values=sorted(result["agents"]))
    axes.set_ylim(0.0, 1.25 * axes.get_ylim()[1])
    axes.set_xlabel("agents")
    axes.set_ylabel("times less than under aios-fifo, same seed (below 1: more)")
    axes.legend(fontsize=8, loc="upper left", ncols=2)
    axes.set_title(title, fontsize=10)
