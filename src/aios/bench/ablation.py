"""`aios bench ablation`: the default without one of its mechanisms at a time, on the real engine.

Three loads. `ample`: agents that declare their plans, and memory for all contexts. `tight`: fewer agents, in
parking memory for about one of their contexts. `flood`: a person who types while batch work of long answers
keeps the core busy (that of `neighbours`). All runs of one seed come next to each other, every other
seed in the reverse order, and are compared with the whole of that seed."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aios.bench.board import Board
from aios.bench.drive import Row
from aios.bench.modes import BACKOFF, Setup, served
from aios.bench.neighbours import Street
from aios.bench.progress import Progress
from aios.bench.report import machine, save_figure, spread, write_result
from aios.bench.sessions import plans, run_sessions
from aios.models.store import ModelStore
from aios.telemetry.plots import plotting

MODEL = "smollm2-135m-instruct"
WHOLE = "the whole"
LOADS: Mapping[str, Mapping[str, str]] = {
    "ample": {
        WHOLE: "aios-composed-plan",
        "no plans declared": "aios-composed",
        "no order of programs": "aios-composed-unranked-plan",
        "no preemption": "aios-composed-unpreempted-plan",
        "no shared prefixes": "aios-composed-unshared-plan",
        "nothing parked": "aios-composed-bare-plan",
    },
    "tight": {
        WHOLE: "aios-composed",
        "least recently used goes": "aios-composed-lru",
        "no swap": "aios-composed-noswap",
        "no swap, no pressure rule": "aios-composed-noswap-unpressed",
    },
    "flood": {WHOLE: "aios-composed", "no preemption": "aios-composed-unpreempted"},
}
"""What is left out, and the way to serve that does so."""
TIGHT_MB = 12
CROWD = {
    "makespan_s": "makespan", "completion_mean_s": "mean completion", "slowdown_p99": "p99 slowdown",
    "wait_p99_s": "", "kv_hit": "",
}  # fmt: skip
MEASURES: Mapping[str, Mapping[str, str]] = {
    "ample": CROWD, "tight": CROWD,
    "flood": {"interactive_wait_p50_s": "", "interactive_wait_p99_s": "p99 wait"},
}  # fmt: skip
"""What is measured, and what the plot calls it; "": it is not in the plot."""


def run(
    out: Path, *, model: str = MODEL, agents: int = 16, slots: int = 4, seeds: int = 5, quick: bool = False
) -> None:
    """Run what there is of each load on every seed. `agents`: of the load `ample`; `tight` has three quarters
    of them. What is done is kept in `progress.jsonl`, so that a run that was stopped goes on where it was."""
    plotting()  # whoever has no matplotlib should know before, not after
    with tempfile.TemporaryDirectory(prefix="aios-ablation-") as folder:
        threads = len(os.sched_getaffinity(0))
        setup = Setup(model, ModelStore().resolve(model), agents, slots, threads, Path(folder), context=2048)
        before, progress = machine(), Progress(out / "progress.jsonl")
        rows = asyncio.run(_all(setup, 1 if quick else seeds, progress))
    result = {
        "bench": "ablation", "model": model, "agents": agents, "slots": slots, "kv_ram_mb_tight": TIGHT_MB,
        "seeds": 1 if quick else seeds, "rows": merged(rows), "runs": rows, **before,
    }  # fmt: skip
    write_result(out, result)
    plot(out / "plot.png", result)
    progress.over()


async def _all(setup: Setup, seeds: int, progress: Progress) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for seed in range(1, seeds + 1):
        for load, ways in LOADS.items():
            # The machine drifts: nothing is always the last.
            for without in list(ways)[:: 1 if seed % 2 else -1]:
                row = progress.find(seed=seed, load=load, without=without)
                if row is None:
                    done = await _one(setup, load, ways[without], seed)
                    row = {"seed": seed, "load": load, "without": without, **done}
                    progress.add(row)
                rows.append(row)
                told = "  ".join(f"{name.removesuffix('_s')} {row[name]:.4g}" for name in MEASURES[load])
                print(f"seed {seed}, {load}, {without:25} {told}", flush=True)
    return rows


async def _one(setup: Setup, load: str, mode: str, seed: int) -> dict[str, Any]:
    if load == "flood":
        options = {"composed": {"interrupts": "unpreempted" not in mode}}
        street = Street(setup.path, Path(tempfile.mkdtemp(dir=setup.state)), quick=False)
        return await street.flood({"policy": "composed", "options": options}, seed)
    if load == "tight":
        setup = replace(setup, agents=3 * setup.agents // 4, tables=f"kv_ram_mb = {TIGHT_MB}")
    crowd = plans(setup.agents, seed)
    rows = [Row(plan.name) for plan in crowd]
    async with served(setup, mode, BACKOFF) as way, Board(mode, rows, None).shown():
        return (await run_sessions(way, crowd, seed, rows, declare=mode.endswith("-plan"))).row(mode)


def merged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each load and what is left out of it: medians over the seeds, with ranges; `_cost`: of the
    ratios to the whole of the same seed (1.2: a fifth more time without it)."""
    whole = {(row["load"], row["seed"]): row for row in rows if row["without"] == WHOLE}
    found: list[dict[str, Any]] = []
    for load, without in dict.fromkeys((row["load"], row["without"]) for row in rows):
        same = [row for row in rows if (row["load"], row["without"]) == (load, without)]
        entry: dict[str, Any] = {"load": load, "without": without}
        for name in MEASURES[load]:
            values = [row[name] for row in same]
            entry |= {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}
            bases = [whole[load, row["seed"]][name] for row in same]
            costs = [value / base for value, base in zip(values, bases, strict=True) if base]
            if name != "kv_hit" and costs:
                entry[f"{name}_cost"] = round(statistics.median(costs), 3)
                entry[f"{name}_cost_range"] = [round(min(costs), 3), round(max(costs), 3)]
        found.append(entry)
    return found


def plot(path: Path, result: dict[str, Any]) -> None:
    """What leaving each mechanism out costs, load by load."""
    agents, tight = result["agents"], 3 * result["agents"] // 4
    told = {
        "ample": f"{agents} agents, memory for all",
        "tight": f"{tight} agents, {result['kv_ram_mb_tight']} MB for contexts",
        "flood": "a person among 12 batch agents",
    }  # fmt: skip
    figure, panels = plotting().subplots(1, len(LOADS), figsize=(19, 5.5), width_ratios=(5, 4, 3))
    for axes, load in zip(panels, LOADS, strict=True):
        rows = [row for row in result["rows"] if row["load"] == load and row["without"] != WHOLE]
        shown = {name: label for name, label in MEASURES[load].items() if label}
        for index, (name, label) in enumerate(shown.items()):
            cost, shift = f"{name}_cost", (index - (len(shown) - 1) / 2) * 0.27
            with_it = [row for row in rows if cost in row]
            bars = axes.barh(
                [rows.index(row) + shift for row in with_it], [row[cost] for row in with_it], 0.25, label=label,
                xerr=spread(with_it, cost), capsize=2, error_kw={"elinewidth": 0.8},
            )  # fmt: skip
            axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=3)
        axes.axvline(1.0, color="0.3", linewidth=1)
        axes.set_yticks(range(len(rows)), [row["without"] for row in rows])
        axes.set_ylim(max(2, len(rows)) - 0.5, -0.5)
        axes.margins(x=0.12)
        axes.set_title(f"{load}: {told[load]}", fontsize=10)
        axes.legend(fontsize=8, loc="lower right")
    figure.supxlabel("times what the whole takes, same seed (above 1: worse without it)", fontsize=10)
    figure.suptitle(
        f"{result['model']}, {result['slots']} slots, {result['seeds']} seeds: medians and ranges", fontsize=10
    )
    save_figure(figure, path)
