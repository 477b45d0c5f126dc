"""`aios bench scale`: many agents on one kernel, with its journal and its events on.

Three questions: how many syscalls a second the kernel itself can do (a core that answers nothing), what an
agent costs that does nothing (resident memory of the process, before and after), and how time and waits grow
with the number of agents on a real engine with a tiny random model, in process and through HTTP, all at once
and a few at a time."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from aios.bench.crowd import ANSWER_TOKENS, SLOTS, WAYS, Crowd, Way
from aios.bench.growth import growth
from aios.bench.kernelrate import idle_memory, null_rate
from aios.bench.progress import Progress
from aios.bench.report import log_ticks, machine, save_figure, spread, write_result
from aios.bench.tiny import write_tiny_gguf
from aios.config import Settings, parse
from aios.kernel.collector import unhurried
from aios.telemetry.plots import plotting

AGENTS = (250, 500, 1000, 2000, 5000, 10_000)
QUICK = (50, 100, 200)
POLICIES = ("fifo", "composed")
CALLERS = (1, 250, 2000, 10_000)
"""Agents on the null core."""
CAME, FEW = 2000, 32
"""Agents of which so many call at a time, to tell what they cost when idle from what a crowd's calls leave."""

COLOURS = ("#0072b2", "#d55e00", "#009e73")
ROUND_RATE = 10_000
"""Syscalls a second that the plot draws a line at, to compare bars with."""

Work = Callable[[], Coroutine[Any, Any, dict[str, Any]]]


def run(out: Path, *, quick: bool = False, seeds: int = 3, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`. `seeds`: repetitions. What is done is kept in
    `progress.jsonl`, so that a run that was stopped goes on where it was."""
    import uvloop

    plotting()  # whoever has no matplotlib should know before, not after
    repeats, agents = (1, QUICK) if quick else (seeds, AGENTS)
    before, progress, rows = machine(), Progress(out / "progress.jsonl"), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="aios-scale-") as folder:
        for what, work in _works(Path(folder), agents, QUICK if quick else CALLERS, repeats):
            row = progress.find(**what)
            if row is None:
                with unhurried():
                    row = {**what, **uvloop.run(work())}
                progress.add(row)
            rows.append(row)
            Console().print("  ".join(f"{name} {value}" for name, value in row.items()))
    result: dict[str, Any] = {
        "bench": "scale", "repeats": repeats, "slots": SLOTS, "answer_tokens": ANSWER_TOKENS,
        "null": merged(rows, "null", ("policy", "agents")), "idle": merged(rows, "idle", ("agents",)),
        "engine": merged(rows, "engine", ("way", "agents")), "few": merged(rows, "few", ("way", "agents")),
        "fits": fits(rows), "runs": rows, **before,
    }  # fmt: skip
    write_result(out, result)
    plot(out / "plot.png", result)
    progress.over()


def _works(
    folder: Path, agents: Sequence[int], callers: Sequence[int], repeats: int
) -> Iterator[tuple[dict[str, Any], Work]]:
    """What is to be measured, and how; each in a state folder of its own. One seed of all, then the next."""
    model = write_tiny_gguf(folder / "tiny.gguf")

    def settings(name: str, count: int, **tables: Any) -> Settings:
        return parse({
            "state": {"dir": str(folder / name)}, "processes": {"max_processes": count + 10}, **tables,
        })  # fmt: skip

    for seed in range(1, repeats + 1):
        for policy in POLICIES:
            for count in callers:
                order = settings(f"null-{policy}-{count}-{seed}", count, scheduler={"policy": policy})
                what = {"part": "null", "policy": policy, "agents": count, "seed": seed}
                yield what, partial(null_rate, order, count)
        for count in agents:
            idle = partial(idle_memory, settings(f"idle-{count}-{seed}", count), count)
            yield {"part": "idle", "agents": count, "seed": seed}, idle
        for count in agents:
            for way in WAYS:
                crowd = Crowd(folder / f"{way}-{count}-{seed}", model, count, seed)
                what = {"part": "engine", "way": way, "agents": count, "seed": seed}
                yield what, partial(crowd.served, way)
        for way in WAYS:
            few = Crowd(folder / f"few-{way}-{seed}", model, min(CAME, agents[-1]), seed, at_once=FEW)
            what = {"part": "few", "way": way, "agents": few.agents, "seed": seed}
            yield what, partial(few.served, way)


def merged(rows: list[dict[str, Any]], part: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of one part: a row for all seeds of what `names` say, with medians and ranges of numbers."""
    same: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["part"] == part:
            same.setdefault(tuple(row[name] for name in names), []).append(row)
    found: list[dict[str, Any]] = []
    for key, those in same.items():
        entry: dict[str, Any] = {**dict(zip(names, key, strict=True)), "runs": len(those)}
        for name in [name for name in those[0] if name not in {*names, "part", "seed"}]:
            values = [row[name] for row in those]
            if isinstance(values[0], str):
                entry[name] = "; ".join(sorted({value for value in values if value}))
            else:
                entry[name], entry[f"{name}_range"] = statistics.median(values), [min(values), max(values)]
        found.append(entry)
    return found


def fits(rows: list[dict[str, Any]]) -> dict[Way, dict[str, Any]]:
    """How makespan and mean wait grow with the number of agents that call at once, each way."""
    crowds = [row for row in rows if row["part"] == "engine"]
    return {
        way: {
            name: growth([(row["agents"], row[name]) for row in crowds if row["way"] == way])
            for name in ("makespan_s", "wait_mean_s")
        }
        for way in WAYS
    }


def plot(path: Path, result: dict[str, Any]) -> None:
    """Makespan and mean wait over the number of agents, with the fitted lines; calls a second of the kernel
    alone; what an idle agent costs."""
    figure, axes = plotting().subplots(2, 2, figsize=(13, 9.6))
    _plot_growth(axes[0][0], result, "makespan_s", "seconds until the last has its answer")
    _plot_growth(axes[0][1], result, "wait_mean_s", "mean wait for a slot, s")
    _plot_null(axes[1][0], result["null"])
    _plot_memory(axes[1][1], result)
    figure.suptitle(
        f"Tiny random model, {result['slots']} slots, {result['answer_tokens']} tokens an answer: "
        "medians and ranges"
    )
    save_figure(figure, path)


def runs_told(rows: Sequence[dict[str, Any]]) -> str:
    """How many runs the merged rows are of."""
    counts = sorted({row["runs"] for row in rows})
    most = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))
    return f"{most} run" if counts == [1] else f"{most} runs"


def _plot_growth(ax: Any, result: dict[str, Any], name: str, unit: str) -> None:
    for way, colour, shift in zip(WAYS, COLOURS, (0.985, 1.015), strict=False):
        rows = [row for row in result["engine"] if row["way"] == way]
        line = result["fits"][way][name]
        told = f"{way}: {1e3 * line['slope']:.2f} ms an agent, R² {line['r2']:.4f}, n^{line['exponent']:.2f}"
        _points(ax, rows, name, label=told, color=colour, shift=shift)
        # Straight, but not where axes are logarithmic.
        ends = (min(row["agents"] for row in rows), max(row["agents"] for row in rows))
        steps = [ends[0] * (ends[1] / ends[0]) ** (part / 60) for part in range(61)]
        fitted = [(n, line["intercept"] + line["slope"] * n) for n in steps]
        fitted = [(n, value) for n, value in fitted if value > 0]
        ax.plot([n for n, _ in fitted], [value for _, value in fitted], linewidth=0.9, color=colour)
    ax.set_yscale("log")
    log_ticks(ax.yaxis)
    _agents(ax, result["engine"], "agents, all at once")
    ax.set_ylabel(unit)
    ax.set_title(f"engine: {unit} ({runs_told(result['engine'])}; fitted lines)", fontsize=10)
    ax.legend(fontsize=8)


def _points(ax: Any, rows: Sequence[dict[str, Any]], name: str, *, shift: float = 1.0, **style: Any) -> None:
    """`shift`: to the side, so that ranges are next to each other."""
    counts = [row["agents"] * shift for row in rows]
    values, style = [row[name] for row in rows], {"linestyle": "none", "marker": "o", "markersize": 4, **style}
    ax.errorbar(counts, values, yerr=spread(rows, name), capsize=3, elinewidth=0.9, **style)


def _agents(ax: Any, rows: Sequence[dict[str, Any]], label: str) -> None:
    ax.set_xscale("log")
    log_ticks(ax.xaxis, values=sorted({row["agents"] for row in rows}))
    ax.set_xlabel(label)


def _plot_null(ax: Any, rows: Sequence[dict[str, Any]]) -> None:
    counts = sorted({row["agents"] for row in rows})
    width = 0.8 / len(POLICIES)
    for index, policy in enumerate(POLICIES):
        mine = [row for row in rows if row["policy"] == policy]
        places = [counts.index(row["agents"]) + (index - (len(POLICIES) - 1) / 2) * width for row in mine]
        values = [row["calls_s"] for row in mine]
        bars = ax.bar(
            places, values, width, label=policy, color=COLOURS[index], yerr=spread(mine, "calls_s"), capsize=3
        )
        ax.bar_label(bars, fmt="{:,.0f}", fontsize=8, label_type="center", color="white")
    ax.axhline(ROUND_RATE, color="black", linewidth=0.9, linestyle="--", label=f"{ROUND_RATE:,} a second")
    ax.margins(y=0.2)
    ax.set_xticks(range(len(counts)), [f"{count:,}" for count in counts])
    ax.set_xlabel("agents on a core that answers nothing")
    ax.set_ylabel("syscalls a second")
    ax.set_title(f"the kernel alone, journal and events on ({runs_told(rows)})", fontsize=10)
    ax.legend(fontsize=8)


def _plot_memory(ax: Any, result: dict[str, Any]) -> None:
    """Growth of the kernel's process over the agents that made it grow. Of few agents it is mostly noise."""
    alone: dict[str, Any] = {"color": COLOURS[2], "linestyle": "-", "shift": 1.02}
    parts = [("null core", result["idle"], "bytes_each", alone)]
    for way, colour in zip(WAYS, COLOURS, strict=False):
        for part, told in (("engine", "all at once"), ("few", f"{FEW} at a time")):
            rows = [row for row in result[part] if row["way"] == way]
            style: dict[str, Any] = {"color": colour, "linestyle": "-", "shift": 0.99}
            if part == "few":
                style |= {"linestyle": "none", "marker": "D", "shift": 1.06}
            parts.append((f"real core, {way}, {told}", rows, "idle_bytes_each", style))
    for told, rows, name, style in parts:
        told = f"{told} ({runs_told(rows)})"
        _points(ax, [_thousandth(row, name) for row in rows], name, label=told, linewidth=0.8, **style)
    ax.axhline(0.0, color="0.7", linewidth=0.8)
    _agents(ax, result["engine"], "agents that have called once and are idle")
    ax.set_ylabel("kB of resident memory an agent")
    ax.set_title("memory an idle agent costs the kernel", fontsize=10)
    ax.legend(fontsize=8, loc="lower right")


def _thousandth(row: dict[str, Any], name: str) -> dict[str, Any]:
    least, most = row[f"{name}_range"]
    return {**row, name: row[name] / 1e3, f"{name}_range": [least / 1e3, most / 1e3]}
