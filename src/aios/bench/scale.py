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
from aios.bench.report import machine, write_result
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
    alone."""
    pyplot = plotting()
    figure, axes = pyplot.subplots(1, 3, figsize=(17, 4.8))
    for ax, name in zip(axes, ("makespan_s", "wait_mean_s"), strict=False):
        for way in WAYS:
            rows = [row for row in result["engine"] if row["way"] == way]
            counts = [row["agents"] for row in rows]
            line = result["fits"][way][name]
            told = (
                f"{way}: {1e3 * line['slope']:.2f} ms an agent, R² {line['r2']:.4f}, n^{line['exponent']:.2f}"
            )
            points = ax.scatter(counts, [row[name] for row in rows], s=18, label=told)
            ends = (min(counts), max(counts))
            color = points.get_facecolor()[0]
            ax.plot(ends, [line["intercept"] + line["slope"] * n for n in ends], linewidth=0.9, color=color)
        ax.set_xlabel("agents, all at once")
        ax.set_ylabel(name.removesuffix("_s").replace("_", " ") + ", s")
        ax.legend(fontsize=8)
    _plot_null(axes[2], result["null"])
    tokens = f"{result['answer_tokens']} tokens an answer, runs: {result['repeats']}"
    figure.suptitle(f"Tiny random model, {result['slots']} slots, {tokens}", fontsize=11)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _plot_null(ax: Any, rows: list[dict[str, Any]]) -> None:
    counts = sorted({row["agents"] for row in rows})
    width = 0.8 / len(POLICIES)
    for index, policy in enumerate(POLICIES):
        mine = [row for row in rows if row["policy"] == policy]
        places = [counts.index(row["agents"]) + (index - (len(POLICIES) - 1) / 2) * width for row in mine]
        values = [row["calls_s"] for row in mine]
        low = [row["calls_s"] - row["calls_s_range"][0] for row in mine]
        high = [row["calls_s_range"][1] - row["calls_s"] for row in mine]
        bars = ax.bar(places, values, width, label=policy, yerr=[low, high], capsize=3)
        ax.bar_label(bars, fmt="%.0f", fontsize=8)
    ax.axhline(10_000, color="grey", linewidth=0.8, linestyle="--")
    ax.set_xticks(range(len(counts)), [str(count) for count in counts])
    ax.set_xlabel("agents on a core that answers nothing")
    ax.set_ylabel("syscalls a second, journal and events on")
    ax.legend(fontsize=8)
