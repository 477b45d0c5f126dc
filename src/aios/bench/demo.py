"""`aios bench demo`: many agents on one small model, four ways to serve them, in one run.

(a) direct-retry: the agents call the engine directly, as the AIOS paper describes today's practice: it has S
slots, keeps nothing between calls, refuses when its slots are taken, and agents back off and try again;
(a') direct-retry-cached: the same with the engine's prompt cache; (b) engine-queue: the engine's own queue with
its prompt cache in slots and RAM; (c) aios-fifo and (d) aios-rr: the kernel.

The same engine build, model file, threads, slots, window and exact settings everywhere; the same agents, tasks,
prompts and HTTP client; each mode in an engine process of its own, started fresh. How many agents there are is
fitted to the machine, unless it is said: one of them alone goes before, untold in the result.
"""

from __future__ import annotations

import asyncio
import csv
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from rich import box
from rich.console import Console
from rich.table import Table

from aios.bench.board import Board
from aios.bench.drive import Backoff, Row, Run, drive
from aios.bench.modes import BACKOFF, CONTEXT, Setup, served
from aios.bench.report import machine, write_result
from aios.errors import AiosError
from aios.models import catalogue
from aios.models.store import ModelStore
from aios.telemetry.plots import plotting

MODES = ("direct-retry", "direct-retry-cached", "engine-queue", "aios-fifo", "aios-rr")
GAP_S = 1.0
CROWDS = (16, 12, 8)
"""Numbers of agents to choose from; fewer would hardly share slots."""
PATIENCE_S = 600.0
"""How long all modes together should take."""
SHARE = 2.5
"""All modes together take about so many times as long, for each agent of a crowd, as one agent alone in the
first."""
SWEEP = tuple(Backoff(base, cap) for base in (0.25, 0.5, 1.0) for cap in (2.0, 8.0))


def run(
    out: Path,
    *,
    model: str | None = None,
    agents: int | None = None,
    slots: int = 4,
    seeds: int = 1,
    full: bool = False,
    quick: bool = False,
) -> None:
    """Run all modes, print them side by side, and write result.json, result.csv and plot.png to `out`.
    `agents`: how many; None: as many of `CROWDS` as the machine serves in `PATIENCE_S`."""
    name = model or catalogue.default()
    path = ModelStore().resolve(name)
    with tempfile.TemporaryDirectory(prefix="aios-demo-") as folder:
        threads = len(os.sched_getaffinity(0))
        setup = Setup(name, path, 4 if quick else agents or CROWDS[0], slots, threads, Path(folder))
        if agents is None and not quick and not full:
            setup = asyncio.run(_fitted(setup))
        asyncio.run(_run(out, setup, seeds=3 if full and seeds == 1 else seeds, full=full))


async def _fitted(setup: Setup) -> Setup:
    """With as many agents as the machine serves in time; says how long that will take."""
    console = Console()
    console.print("One agent alone, to see how fast this machine is ...")
    rows = [Row("agent-00")]
    async with served(setup, MODES[0], BACKOFF) as way, Board("alone", rows, None).shown():
        alone = await drive(way, 1, 1, rows, gap_s=GAP_S)
    agents = crowd(alone.makespan)
    minutes = SHARE * agents * alone.makespan / 60
    console.print(
        f"  {alone.makespan:.0f} s: {agents} agents, about {minutes:.0f} minutes (--agents sets another)"
    )
    return replace(setup, agents=agents)


def crowd(alone_s: float) -> int:
    """How many agents the machine serves in all modes within `PATIENCE_S`, where one alone takes `alone_s`."""
    return next((agents for agents in CROWDS if SHARE * agents * alone_s <= PATIENCE_S), CROWDS[-1])


async def _run(out: Path, setup: Setup, *, seeds: int, full: bool) -> None:
    console = Console()
    console.print(
        f"{setup.agents} ReAct agents on {setup.slots} slots of {setup.path.stem}, {setup.threads} threads, "
        f"{CONTEXT} tokens a slot; a tool takes {GAP_S:g} s"
    )
    before = machine()
    backoff = BACKOFF
    if full:
        backoff = await _sweep(out, setup, console)
    rows: list[dict[str, Any]] = []
    for seed in range(1, seeds + 1):
        for mode in MODES:
            rows.append({**await _one(setup, mode, seed, backoff), "seed": seed})
    middle = merged(rows)
    result: dict[str, Any] = {
        "rows": middle, "runs": rows, "model": setup.model, "agents": setup.agents, "slots": setup.slots,
        "threads": setup.threads, "context": CONTEXT, "gap_s": GAP_S, "seeds": seeds,
        "backoff": {"base_s": backoff.base, "cap_s": backoff.cap}, **before,
    }  # fmt: skip
    write_result(out, result)
    _write_csv(out / "result.csv", middle)
    plot(out / "plot.png", result)
    console.print(side_by_side(middle))
    if full:
        await _more_agents(out, setup, backoff)


async def _one(setup: Setup, mode: str, seed: int, backoff: Backoff) -> dict[str, Any]:
    """One mode on one seed. A mode that fails says so in its row; the others go on."""
    rows = [Row(f"agent-{i:02}") for i in range(setup.agents)]
    failed: list[str] = []
    done: Run | None = None
    try:
        async with served(setup, mode, backoff) as way:
            kernel = way.url if way.waiting == "kernel" else None
            async with Board(mode, rows, kernel).shown():
                done = await drive(way, setup.agents, seed, rows, gap_s=GAP_S)
    except* (AiosError, httpx.HTTPError) as group:
        failed = [str(error) or repr(error) for error in group.exceptions]
    if done is None:
        Console().print(f"{mode:20} [red]failed[/]: {'; '.join(failed)}")
        return {"mode": mode, "error": "; ".join(failed)}
    row = done.row(mode)
    Console().print(
        f"{mode:20} {row['makespan_s']:7.1f} s  KV hit {row['kv_hit']:.0%}  right {row['right']:.0%}"
    )
    return row


async def _sweep(out: Path, setup: Setup, console: Console) -> Backoff:
    """Which back-off serves direct-retry best."""
    results: list[tuple[float, Backoff]] = []
    for backoff in SWEEP:
        row = await _one(setup, "direct-retry", 1, backoff)
        results.append((row.get("makespan_s", float("inf")), backoff))
        console.print(f"  back-off base {backoff.base} s, cap {backoff.cap} s: {results[-1][0]} s")
    table = [{"base_s": b.base, "cap_s": b.cap, "makespan_s": m} for m, b in results]
    (out / "sweep").mkdir(parents=True, exist_ok=True)
    write_result(out / "sweep", {"rows": table, "model": setup.model, **machine()})
    return min(results, key=lambda r: r[0])[1]


async def _more_agents(out: Path, setup: Setup, backoff: Backoff) -> None:
    """The same with other numbers of agents."""
    rows: list[dict[str, Any]] = []
    for agents in (4, 8, 32):
        other = Setup(setup.model, setup.path, agents, setup.slots, setup.threads, setup.state)
        for mode in MODES:
            rows.append({**await _one(other, mode, 1, backoff), "agents": agents})
    write_result(out / "agents", {"rows": rows, "model": setup.model, "slots": setup.slots, **machine()})


# -- the report ---------------------------------------------------------------------------------------


def merged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a mode: the median over seeds, and the range of the makespan."""
    found: list[dict[str, Any]] = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        same = [row for row in rows if row["mode"] == mode]
        good = [row for row in same if "error" not in row]
        if not good:
            found.append(same[0])
            continue
        middle: dict[str, Any] = {"mode": mode}
        for name, value in good[0].items():
            if isinstance(value, int | float) and name != "seed":
                middle[name] = statistics.median(row[name] for row in good)
        spans = [row["makespan_s"] for row in good]
        middle |= {"makespan_range_s": [min(spans), max(spans)], "failed_runs": len(same) - len(good)}
        found.append(middle)
    return found


METRICS = (
    ("makespan_s", "makespan, s"),
    ("completion_mean_s", "agent done, mean s"),
    ("completion_p90_s", "agent done, p90 s"),
    ("wait_p50_s", "queue wait, p50 s"),
    ("wait_p90_s", "queue wait, p90 s"),
    ("calls_per_s", "calls/s"),
    ("prompt_tokens", "prompt tokens needed"),
    ("prefilled_tokens", "of them computed"),
    ("kv_hit", "KV hit"),
    ("right", "tasks right"),
)


def side_by_side(rows: list[dict[str, Any]]) -> Table:
    """One column a mode; the last lines are the makespan of (a) and of (b) over the mode's own."""
    table = Table(title="One engine, one model, the same agents", header_style="bold", box=box.SIMPLE)
    table.add_column("")
    for row in rows:
        table.add_column(row["mode"].replace("-", " "), justify="right", max_width=10)
    for name, title in METRICS:
        table.add_row(title, *(_cell(row, name) for row in rows))
    for base, title in (("direct-retry", "x over (a)"), ("engine-queue", "x over (b)")):
        span = next((row.get("makespan_s") for row in rows if row["mode"] == base), None)
        ratios = (f"{span / row['makespan_s']:.2f}" if span and "makespan_s" in row else "-" for row in rows)
        table.add_row(title, *ratios)
    return table


def _cell(row: dict[str, Any], name: str) -> str:
    if name not in row:
        return "failed"
    return f"{row[name]:.0%}" if name in ("kv_hit", "right") else f"{row[name]:.4g}"


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def plot(path: Path, result: dict[str, Any]) -> None:
    """Makespan, completion times of the agents, and tokens computed against tokens needed."""
    good = [row for row in result["rows"] if "error" not in row]
    runs = [run for run in result["runs"] if "error" not in run]
    if not good:
        return
    pyplot = plotting()
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(14, 4.4))
    names = [row["mode"] for row in good]
    colours = [
        "#c44e52" if n.startswith("direct") else "#8c8c8c" if n.startswith("engine") else "#4c72b0"
        for n in names
    ]
    bars = left.bar(names, [row["makespan_s"] for row in good], color=colours)
    left.bar_label(bars, fmt="%.0f s")
    left.margins(y=0.12)
    left.set_title(f"Makespan of {result['agents']} agents on {result['slots']} slots, s")
    times = [[t for run in runs if run["mode"] == name for t in run["completions_s"]] for name in names]
    middle.boxplot(times)
    middle.set_xticks(range(1, len(names) + 1), names)
    middle.set_title("When each agent is done, s")
    right.bar(names, [row["prompt_tokens"] for row in good], color="#dddddd", label="prompt tokens needed")
    right.bar(names, [row["prefilled_tokens"] for row in good], color=colours, label="computed")
    right.set_title("Prompt tokens computed of those needed")
    right.legend(fontsize=8)
    for axes in (left, middle, right):
        axes.tick_params(axis="x", rotation=25, labelsize=8)
    figure.suptitle(f"{result['model']}, median of {result['seeds']} seed(s)", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
