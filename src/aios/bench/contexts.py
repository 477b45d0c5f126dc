"""`aios bench contexts`: what keeping contexts is worth, with less memory than agents want, and over a restart;
and whether interrupted answers are the ones that there would have been."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aios.bench import overcommit
from aios.bench.drive import Row
from aios.bench.interrupts import Answers
from aios.bench.modes import BACKOFF, Setup, served
from aios.bench.report import machine, save_figure, spread, write_result
from aios.bench.sessions import INSTRUCTIONS, WORDS, plans, run_sessions
from aios.config import parse
from aios.errors import ConfigError
from aios.kernel.kernel import Kernel
from aios.models.store import ModelStore
from aios.syscalls import Completion, Generate, Message, Sampling
from aios.telemetry.plots import plotting

MODEL = "smollm2-135m-instruct"
WAYS = {
    "waste + swap": "aios-rr",
    "lru + swap": "aios-rr-lru",
    "waste, no swap": "aios-rr-noswap",
    "lru, no swap": "aios-rr-lru-noswap",
    "nothing kept": "aios-rr-bare",
}
PARTS = ("exact", "restart", "pressure", "memory")
"""What is measured: interrupted answers, a restart of the kernel, what keeping contexts is worth with little
memory, and how much of it a core takes under agents that want ten times as much."""
AGENTS = 12
RAM_MB = 24
"""Of parking memory: room for about three contexts of the middle of a session."""
LENGTHS = (256, 1024, 1900)
"""Tokens of the conversation that comes back, about; the row says how many they were."""
AROUND = 190
"""Of these are not its user's words: instructions, answer, template. A word is a token."""


def run(
    out: Path, *, model: str = MODEL, quick: bool = False, seeds: int = 5, part: str = "", **_: Any
) -> None:
    """Measure and write `result.json` and `plot.png` to `out`. `seeds`: repetitions. `part`: measure one of
    PARTS only, and keep the others as they are in `out`. Raises ConfigError: there is no such part."""
    if part and part not in PARTS:
        raise ConfigError(f"The bench has no part {part!r}.", f"Its parts are {', '.join(PARTS)}.")
    plotting()  # whoever has no matplotlib should know before, not after
    path = ModelStore().resolve(model)
    before = machine()
    result = _kept(out / "result.json") if part else {}
    with tempfile.TemporaryDirectory(prefix="aios-contexts-") as folder:
        agents, repeats, answers = (8, 1, 12) if quick else (AGENTS, seeds, 100)
        setup = Setup(model, path, agents, 4, before["machine"]["cores"], Path(folder), context=2048)
        measures: dict[str, Callable[[], Coroutine[Any, Any, list[dict[str, Any]]]]] = {
            "exact": Answers(path, Path(folder), answers).table,
            "restart": lambda: restarts(path, Path(folder), repeats),
            "pressure": lambda: pressure(setup, repeats),
            "memory": lambda: overcommit.overcommit(path, Path(folder)),
        }
        for name in [part] if part else PARTS:
            result[name] = asyncio.run(measures[name]())
    if part in ("", "pressure"):
        result |= {"seeds": repeats, "agents": agents, "kv_ram_mb": RAM_MB}
    result |= {"bench": "contexts", "model": model, **before}
    write_result(out, result)
    plot(out / "plot.png", result)


def _kept(file: Path) -> dict[str, Any]:
    """What was measured before, for a part to be added to."""
    nothing: dict[str, Any] = {"seeds": 0, "agents": 0, "kv_ram_mb": 0, **{part: [] for part in PARTS}}
    return {**nothing, **json.loads(file.read_text("utf-8"))} if file.exists() else nothing


async def pressure(setup: Setup, seeds: int) -> list[dict[str, Any]]:
    """Sessions of agents whose contexts do not fit into RAM, by what becomes of those."""
    rows: list[dict[str, Any]] = []
    for seed in range(1, seeds + 1):
        crowd = plans(setup.agents, seed)
        for way, mode in WAYS.items():
            names = [Row(plan.name) for plan in crowd]
            tables = "" if "bare" in mode else f"kv_ram_mb = {RAM_MB}"
            async with served(replace(setup, tables=tables), mode, BACKOFF) as target:
                row = (await run_sessions(target, crowd, seed, names)).row(way)
            rows.append({"seed": seed, **row})
            print(
                f"  seed {seed}, {way:15} makespan {row['makespan_s']:.1f} s, mean "
                f"{row['completion_mean_s']:.1f} s, KV hit {100 * row['kv_hit']:.0f} %"
            )
    return rows


async def restarts(model: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Seconds until the first token of an agent that comes back: from the swap, or computed again."""
    rows: list[dict[str, Any]] = []
    for length in LENGTHS:
        for kept in (True, False):
            times: list[float] = []
            tokens = 0
            for repeat in range(repeats):
                state = folder / f"restart-{length}-{kept}-{repeat}"
                took, tokens = await _come_back(model, state, length, kept=kept)
                times.append(took)
            row = {"tokens": tokens, "kept": kept, "first_token_s": statistics.median(times)}
            rows.append({**row, "range": [min(times), max(times)]})
            how = "swapped" if kept else "lost"
            print(f"  after a restart, {tokens} tokens, {how:7} {row['first_token_s']:.3f} s")
    return rows


async def _come_back(model: Path, state: Path, length: int, *, kept: bool) -> tuple[float, int]:
    """Seconds, and tokens of the prompt."""
    core = {"name": "main", "model": str(model), "slots": 2, "context": 2048}
    settings = parse(
        {"state": {"dir": str(state)}, "cores": [core], "context": {"swap_mb": 1024.0 if kept else 0.0}}
    )
    text = " ".join(WORDS[(i * i + length) % len(WORDS)] for i in range(length - AROUND))
    talk = [Message(role="system", content=INSTRUCTIONS), Message(role="user", content=text)]
    async with Kernel(settings) as kernel:
        talk.append(Message(role="assistant", content=(await _ask(kernel, talk)).choices[0].content))
    talk.append(Message(role="user", content="Go on."))
    async with Kernel(settings) as kernel:
        began = time.perf_counter()
        tokens = (await _ask(kernel, talk)).usage.prompt_tokens
        return time.perf_counter() - began, tokens


async def _ask(kernel: Kernel, talk: Sequence[Message]) -> Completion:
    call = Generate(messages=tuple(talk), sampling=Sampling(temperature=0.0), max_tokens=1)
    done = await kernel.trap(kernel.processes.attach("agent"), call)
    assert isinstance(done, Completion)
    return done


def plot(path: Path, result: dict[str, Any]) -> None:
    """Answers that were the same; makespan and KV hits by what becomes of contexts; time to the first token
    after a restart; memory taken and promised."""
    figure, ((exact, left), (right, last)) = plotting().subplots(2, 2, figsize=(13, 9.6))
    _plot_exact(exact, result["exact"])
    _plot_pressure(left, result)
    _plot_restarts(right, result["restart"])
    overcommit.plot(last, result["memory"])
    figure.suptitle(result["model"])
    save_figure(figure, path)


def _plot_exact(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Where nothing was interrupted, an empty bar: sameness says nothing there."""
    whole = [100 * row["exact"] / row["answers"] for row in rows]
    bars = axes.barh([row["kind"] for row in rows], whole)
    for bar, row in zip(bars, rows, strict=True):
        if not row["interrupts"]:
            bar.set(facecolor="white", edgecolor="0.6", linestyle="--")
        told = (
            f"{row['exact']} of {row['answers']}, BLEU {row['bleu']:.3f}, {row['interrupts']} interrupts"
            if row["interrupts"] else "not interrupted"
        )  # fmt: skip
        color = "white" if row["interrupts"] else "0.3"
        axes.text(2, bar.get_y() + bar.get_height() / 2, told, va="center", fontsize=8, color=color)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of answers the same as without interrupts")
    axes.set_title("interrupted answers", fontsize=10)


def _plot_pressure(axes: Any, result: dict[str, Any]) -> None:
    ways = [way for way in WAYS if any(row["mode"] == way for row in result["pressure"])]
    found = [[row for row in result["pressure"] if row["mode"] == way] for way in ways]
    spans = [[row["makespan_s"] for row in rows] for rows in found]
    merged = [
        {"span": statistics.median(span), "span_range": [min(span), max(span)]} for span in spans
    ]  # fmt: skip
    bars = axes.bar(ways, [row["span"] for row in merged], yerr=spread(merged, "span"), capsize=3)
    hits = [100 * statistics.median(row["kv_hit"] for row in rows) for rows in found]
    told = [f"{row['span']:.0f} s\n{hit:.0f} %" for row, hit in zip(merged, hits, strict=True)]
    axes.bar_label(bars, told, fontsize=8, padding=2)
    axes.margins(y=0.15)
    axes.tick_params(axis="x", rotation=15, labelsize=8)
    axes.set_ylabel("makespan, s, and KV hit, %")
    policies = ", ".join(dict.fromkeys(WAYS[way].split("-")[1] for way in ways))
    axes.set_title(
        f"{result['agents']} agents, {result['kv_ram_mb']} MB for contexts, policy {policies},\n"
        f"{result['seeds']} seeds: median and range",
        fontsize=10,
    )


def _plot_restarts(axes: Any, found: Sequence[dict[str, Any]]) -> None:
    ticks: list[str] = []
    for shift, kept, label in ((-0.2, True, "swapped"), (0.2, False, "computed again")):
        rows = [{**row, "first_token_s_range": row["range"]} if "range" in row else row for row in found]
        rows = [row for row in rows if row["kept"] is kept]
        ticks = max(ticks, [f"{row.get('tokens', row.get('length')):,}" for row in rows], key=len)
        bars = axes.bar(
            [i + shift for i in range(len(rows))], [row["first_token_s"] for row in rows], 0.4, label=label,
            yerr=spread(rows, "first_token_s"), capsize=3,
        )  # fmt: skip
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlabel("tokens of the conversation")
    axes.set_ylabel("s until the first token")
    axes.set_title("the first answer after a restart of the kernel: median and range", fontsize=10)
    axes.legend(loc="upper left")
