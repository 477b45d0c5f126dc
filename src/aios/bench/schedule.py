"""`aios bench schedule`: many agents, one small model, forced lengths: what each way of ordering them gives."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from aios.bench.board import Board
from aios.bench.drive import Row
from aios.bench.modes import BACKOFF, Setup, served
from aios.bench.progress import Progress
from aios.bench.report import machine, write_result
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
    """Makespan and mean completion of each mode, and when the agents were done; and what other numbers of
    agents gain."""
    pyplot = plotting()
    crowd, *others = result["agents"]
    figure, axes = pyplot.subplots(1, 3 if others else 2, figsize=(19 if others else 13, 4.6))
    good = [row for row in result["rows"] if row["agents"] == crowd and "makespan_s" in row]
    names = [row["mode"] for row in good]
    places = range(len(names))
    for shift, name, label in ((-0.2, "makespan_s", "makespan"), (0.2, "completion_mean_s", "mean completion")):
        values = [row[name] for row in good]
        low = [value - row[f"{name}_range"][0] for value, row in zip(values, good, strict=True)]
        high = [row[f"{name}_range"][1] - value for value, row in zip(values, good, strict=True)]
        bars = axes[0].bar([x + shift for x in places], values, 0.4, label=label, yerr=[low, high], capsize=3)
        axes[0].bar_label(bars, fmt="%.0f", fontsize=8)
    axes[0].set_xticks(places, names, rotation=20, fontsize=8, ha="right")
    axes[0].set_ylabel("s")
    axes[0].legend(fontsize=8)
    axes[0].set_title(f"{crowd} agents on {result['slots']} slots, median and range", fontsize=10)
    for name in names:
        times = sorted(
            t for run in result["runs"] if run["mode"] == name and run["agents"] == crowd and "error" not in run
            for t in run["completions_s"]
        )  # fmt: skip
        axes[1].step(times, [(i + 1) / len(times) for i in range(len(times))], where="post", label=name)
    axes[1].set_xlabel("time from arrival to end, s")
    axes[1].set_ylabel("share of agents done")
    axes[1].legend(fontsize=8)
    if others:
        _plot_gains(axes[2], result)
    figure.suptitle(f"{result['model']}, {result['seeds']} seeds", fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _plot_gains(axes: Any, result: dict[str, Any]) -> None:
    for mode in SWEEP_MODES:
        rows = sorted(
            (
                row
                for row in result["rows"]
                if row["mode"] == mode and "completion_mean_s_gain_over_fifo" in row
            ),
            key=lambda row: row["agents"],
        )
        counts = [row["agents"] for row in rows]
        for name, style in (("completion_mean_s", "-"), ("makespan_s", ":")):
            gains = [row[f"{name}_gain_over_fifo"] for row in rows]
            ranges = [row[f"{name}_gain_over_fifo_range"] for row in rows]
            (line,) = axes.plot(counts, gains, style, marker="o", label=f"{mode}, {name.removesuffix('_s')}")
            low, high = zip(*ranges, strict=True) if ranges else ((), ())
            axes.fill_between(counts, low, high, alpha=0.1, color=line.get_color())
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("agents")
    axes.set_ylabel("times less than under aios-fifo, same seed")
    axes.legend(fontsize=7)
